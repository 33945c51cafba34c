// Calls back, at the border of the library. Nothing throws across it.
#include "call/function.hpp"
#include "guarded.hpp"
#include "handles.hpp"

#include <vmrpc/vmrpc.h>

namespace vmrpc {
namespace {

using base::Status;

Status add_to_client(vmrpc_connection* connection, vmrpc_impl_function* declaration, vmrpc_impl_handler handler,
                     void* user, void (*release)(void* user)) {
    auto client = client_of(connection);
    VMRPC_TRY(client);
    if (declaration == nullptr || handler == nullptr)
        return base::fail(VMRPC_BAD_ARGUMENT, "a function needs a declaration and a handler");
    auto function = call::registered(*declaration);
    VMRPC_TRY(function);
    return (*client)->calls_from_server().add(
        {.function = function->function, .handler = handler, .user = user, .release = release});
}

Status serve(vmrpc_connection* connection, std::int64_t limit_ns, std::size_t* served) {
    auto client = client_of(connection);
    VMRPC_TRY(client);
    const auto count = (*client)->serve(base::Deadline::in(limit_ns), limit_ns > 0);
    VMRPC_TRY(count);
    if (served != nullptr) *served = *count;
    return {};
}

Status hold(vmrpc_connection* connection) {
    if (connection == nullptr || connection->kind != call::HandleKind::kServerEnd)
        return base::fail(VMRPC_BAD_ARGUMENT,
                          "only a server's end of a connection can be held: the one that VMRPC_CALLER tells of");
    static_cast<call::ServerConnection*>(connection)->hold();
    return {};
}

Status lend(vmrpc_connection* connection, vmrpc_impl_function* declaration, vmrpc_impl_handler handler, void* object,
            std::uint64_t& number) {
    auto client = client_of(connection);
    VMRPC_TRY(client);
    auto function = call::registered(*declaration);
    VMRPC_TRY(function);
    call::CallsFromServer& calls = (*client)->calls_from_server();
    VMRPC_TRY(calls.add_once({.function = function->function, .handler = handler}));
    number = calls.lend(object);
    return {};
}

/// Of the client's function that this thread executes; nullptr outside of one.
call::CallsFromServer* calls_of_current() {
    call::Endpoint* const endpoint = call::RunningCall::current_endpoint();
    if (endpoint == nullptr || endpoint->side() != layout::Side::kClient) return nullptr;
    return &static_cast<call::ClientConnection*>(endpoint)->calls_from_server();
}

}  // namespace
}  // namespace vmrpc

extern "C" {

vmrpc_status vmrpc_impl_add_to_client(vmrpc_connection* connection, vmrpc_impl_function* function,
                                      vmrpc_impl_handler handler, void* user, void (*release)(void* user)) {
    return vmrpc::guarded([&] { return vmrpc::add_to_client(connection, function, handler, user, release); });
}

vmrpc_status vmrpc_impl_serve(vmrpc_connection* connection, int64_t limit_ns, size_t* served) {
    if (served != nullptr) *served = 0;
    return vmrpc::guarded([&] { return vmrpc::serve(connection, limit_ns, served); });
}

vmrpc_status vmrpc_impl_hold(vmrpc_connection* connection) {
    return vmrpc::guarded([&] { return vmrpc::hold(connection); });
}

void vmrpc_impl_release(vmrpc_connection* connection) {
    if (connection == nullptr || connection->kind != vmrpc::call::HandleKind::kServerEnd) return;
    static_cast<vmrpc::call::ServerConnection*>(connection)->drop();
}

vmrpc_status vmrpc_impl_lend(vmrpc_connection* connection, vmrpc_impl_function* function, vmrpc_impl_handler handler,
                             void* object, uint64_t* number) {
    *number = 0;
    return vmrpc::guarded([&] { return vmrpc::lend(connection, function, handler, object, *number); });
}

void vmrpc_impl_take_back(vmrpc_connection* connection, uint64_t number) {
    if (number == 0) return;
    // By who has lent it: the connection is there.
    static_cast<vmrpc::call::ClientConnection*>(connection)->calls_from_server().take_back(number);
}

void* vmrpc_impl_use_lent(uint64_t number) {
    auto* const calls = vmrpc::calls_of_current();
    return calls == nullptr ? nullptr : calls->use_lent(number);
}

void vmrpc_impl_done_with(uint64_t number) {
    vmrpc::calls_of_current()->done_with(number);
}
}
