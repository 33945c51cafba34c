#include "handles.hpp"

#include "notify/fork_guard.hpp"
#include "stack/switch.hpp"

#include <mutex>
#include <unordered_set>

namespace vmrpc {
namespace {

// Under ForkLock::kHandles. Never destroyed: handles may be closed while the process ends.
std::unordered_set<const void*>& open_handles() {
    static auto& handles = *new std::unordered_set<const void*>;
    return handles;
}

}  // namespace

void add_open_handle(const void* handle) {
    const std::scoped_lock lock(notify::fork_lock(notify::ForkLock::kHandles));
    open_handles().insert(handle);
}

bool take_open_handle(const void* handle) {
    const std::scoped_lock lock(notify::fork_lock(notify::ForkLock::kHandles));
    return open_handles().erase(handle) != 0;
}

bool is_under_running_code(const void* handle) {
    // The addresses are compared: a handle that is not open is not read.
    return stack::is_in_use(static_cast<const vmrpc_connection*>(handle));
}

bool is_running_function_of(const void* handle) {
    for (const auto* call = call::RunningCall::current(); call != nullptr; call = call->outer()) {
        if (static_cast<const vmrpc_connection*>(call->endpoint()) == handle) return true;
    }
    return false;
}

base::Result<call::Endpoint*> endpoint_of(vmrpc_connection* connection) {
    if (connection == nullptr) {
        if (auto* serving = call::RunningCall::current_endpoint()) return serving;
        return base::fail(VMRPC_BAD_ARGUMENT,
                          "no connection was given, and this thread is serving no call: NULL means "
                          "the connection of the call being served");
    }
    if (connection->kind == call::HandleKind::kClient)
        VMRPC_TRY(static_cast<call::ClientConnection*>(connection)->usable_here());
    else if (connection->kind != call::HandleKind::kServerEnd)
        return base::fail(VMRPC_BAD_ARGUMENT, "the handle is no open connection");
    return static_cast<call::Endpoint*>(connection);
}

base::Result<call::Endpoint*> usable_endpoint_of(vmrpc_connection* connection) {
    auto endpoint = endpoint_of(connection);
    VMRPC_TRY(endpoint);
    VMRPC_TRY((*endpoint)->usable());
    return endpoint;
}

base::Result<call::ClientConnection*> client_of(vmrpc_connection* connection) {
    if (connection != nullptr && connection->kind == call::HandleKind::kServerEnd)
        return base::fail(VMRPC_BAD_ARGUMENT,
                          "a server's end of a connection only makes calls back that are waited for: NAME_call");
    if (connection == nullptr || connection->kind != call::HandleKind::kClient)
        return base::fail(VMRPC_BAD_ARGUMENT, "the handle is no open connection");
    return static_cast<call::ClientConnection*>(connection);
}

base::Result<ServerLoop*> server_of(vmrpc_server* server) {
    if (server == nullptr || server->kind != call::HandleKind::kServer)
        return base::fail(VMRPC_BAD_ARGUMENT, "the handle is no open server");
    return static_cast<ServerLoop*>(server);
}

}  // namespace vmrpc
