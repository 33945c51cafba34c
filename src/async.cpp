// What the stubs of asynchronous and of one-way calls call. Nothing throws across it.
#include "call/client_plain.hpp"
#include "call/function.hpp"
#include "guarded.hpp"
#include "handles.hpp"
#include "options.hpp"

#include <vmrpc/vmrpc.h>

#include <algorithm>
#include <cstddef>
#include <tuple>

namespace vmrpc {
namespace {

using base::Result;
using base::Status;
using call::ClientConnection;
using call::PendingCall;

/// The call that a token stands for; nullptr if its answer was taken or its connection closed.
PendingCall* in_flight(const vmrpc_token& token) {
    auto* const call = static_cast<PendingCall*>(token.call);
    // relaxed: whoever uses a token was handed it by other means
    return call != nullptr && call->serial.load(std::memory_order_relaxed) == token.serial ? call : nullptr;
}

Result<PendingCall*> call_of(const vmrpc_token* token) {
    if (token == nullptr || token->call == nullptr)
        return base::fail(VMRPC_BAD_ARGUMENT,
                          "the token stands for no call: its answer was taken before, it was dropped, or it was never "
                          "started");
    if (PendingCall* const call = in_flight(*token)) return call;
    return base::fail(VMRPC_CLOSED,
                      "the connection was closed before the answer was taken (or it was taken with a copy of the "
                      "token)");
}

Status start(vmrpc_connection* connection, vmrpc_impl_function* declaration, const vmrpc_call_options* options,
             void* const* arguments, vmrpc_token* token) {
    auto client = client_of(connection);
    VMRPC_TRY(client);
    if (declaration == nullptr || token == nullptr)
        return base::fail(VMRPC_BAD_ARGUMENT, "an asynchronous call needs a function and a place for its token");
    auto function = call::registered(*declaration);
    VMRPC_TRY(function);
    const auto limit_ns = read_limit(options, (*client)->default_limit_ns());
    VMRPC_TRY(limit_ns);
    return (*client)->start(*function, *limit_ns, arguments, *token);
}

Status post(vmrpc_connection* connection, vmrpc_impl_function* declaration, void* const* arguments) {
    auto client = client_of(connection);
    VMRPC_TRY(client);
    if (declaration == nullptr) return base::fail(VMRPC_BAD_ARGUMENT, "no function was given");
    auto function = call::registered(*declaration);
    VMRPC_TRY(function);
    return (*client)->post_one_way(*function, arguments);
}

Status wait(vmrpc_token* token, vmrpc_impl_function* declaration, void* result) {
    auto call = call_of(token);
    if (!call) {
        if (token != nullptr) *token = {nullptr, 0};
        return tl::unexpected<base::Error>(std::move(call).error());
    }
    const call::Function& function = *(*call)->function;
    if (declaration != nullptr) {
        const auto expected = call::registered(*declaration);
        VMRPC_TRY(expected);
        if (expected->function->signature() != function.signature())
            return base::fail(VMRPC_BAD_ARGUMENT, fmt::format("the token stands for a call of {}, not of {}",
                                                              function.signature(), expected->function->signature()));
    }
    Status status = (*call)->client->take(**call, result);
    if (in_flight(*token) == nullptr) *token = {nullptr, 0};
    return status;
}

Status wait_ready(const vmrpc_token* token, std::int64_t limit_ns) {
    auto call = call_of(token);
    VMRPC_TRY(call);
    const auto deadline = base::Deadline::in(std::max<std::int64_t>(limit_ns, 1));
    if ((*call)->client->wait_settled(**call, deadline)) return {};
    return base::fail(VMRPC_TIMED_OUT, fmt::format("{} is not answered yet", (*call)->function->name()));
}

Status last_one_way_error(vmrpc_connection* connection, char* text, std::size_t text_bytes) {
    auto client = client_of(connection);
    VMRPC_TRY(client);
    VMRPC_TRY((*client)->usable_here());
    (*client)->sweep_async();
    base::Error error = (*client)->last_one_way_error();
    if (text != nullptr && text_bytes != 0) text[error.text.copy(text, text_bytes - 1)] = '\0';
    if (error.status == VMRPC_OK) return {};
    return tl::unexpected<base::Error>(std::move(error));
}

// What is not as usual, apart, lest it takes registers from the short ways.

[[gnu::noinline]] vmrpc_status start_longer(vmrpc_connection* connection, vmrpc_impl_function* function,
                                            const vmrpc_call_options* options, void* const* arguments,
                                            vmrpc_token* token) noexcept {
    if (token != nullptr) *token = {nullptr, 0};
    return guarded([&] { return start(connection, function, options, arguments, token); });
}

[[gnu::noinline]] vmrpc_status post_longer(vmrpc_connection* connection, vmrpc_impl_function* function,
                                           void* const* arguments) noexcept {
    return guarded([&] { return post(connection, function, arguments); });
}

[[gnu::noinline]] vmrpc_status wait_longer(vmrpc_token* token, vmrpc_impl_function* function, void* result) noexcept {
    return guarded([&] { return wait(token, function, result); });
}

}  // namespace
}  // namespace vmrpc

extern "C" {

vmrpc_status vmrpc_impl_async(vmrpc_connection* connection, vmrpc_impl_function* function,
                              const vmrpc_call_options* options, void* const* arguments, vmrpc_token* token) {
    if (options == nullptr && function != nullptr && connection != nullptr && token != nullptr) [[likely]] {
        const auto known = vmrpc::call::registered_before(*function);
        if (known.function != nullptr && vmrpc::ClientConnection::start_plain(*connection, known, arguments, *token))
            [[likely]]
            return VMRPC_OK;
    }
    return vmrpc::start_longer(connection, function, options, arguments, token);
}

vmrpc_status vmrpc_impl_post(vmrpc_connection* connection, vmrpc_impl_function* function, void* const* arguments) {
    if (function != nullptr && connection != nullptr) [[likely]] {
        const auto known = vmrpc::call::registered_before(*function);
        if (known.function != nullptr && vmrpc::ClientConnection::post_one_way_plain(*connection, known, arguments))
            [[likely]]
            return VMRPC_OK;
    }
    return vmrpc::post_longer(connection, function, arguments);
}

vmrpc_status vmrpc_impl_wait(vmrpc_token* token, vmrpc_impl_function* function, void* result) {
    if (token != nullptr) [[likely]] {
        vmrpc::PendingCall* const call = vmrpc::in_flight(*token);
        const bool is_function =
            function == nullptr ||
            (call != nullptr && call->function == vmrpc::call::registered_before(*function).function);
        if (call != nullptr && is_function && vmrpc::ClientConnection::take_plain(*call, result)) [[likely]] {
            *token = {nullptr, 0};
            return VMRPC_OK;
        }
    }
    return vmrpc::wait_longer(token, function, result);
}

int vmrpc_impl_is_ready(const vmrpc_token* token) {
    const vmrpc::PendingCall* const call = token == nullptr ? nullptr : vmrpc::in_flight(*token);
    return call == nullptr || call->client->is_settled(*call) ? 1 : 0;
}

vmrpc_status vmrpc_impl_wait_ready(const vmrpc_token* token, int64_t limit_ns) {
    return vmrpc::guarded([&] { return vmrpc::wait_ready(token, limit_ns); });
}

vmrpc_status vmrpc_impl_cancel(const vmrpc_token* token) {
    return vmrpc::guarded([&]() -> vmrpc::base::Status {
        auto call = vmrpc::call_of(token);
        VMRPC_TRY(call);
        VMRPC_TRY((*call)->client->usable_here());
        (*call)->client->cancel(**call);
        return {};
    });
}

void vmrpc_impl_drop(vmrpc_token* token) {
    if (token == nullptr) return;
    std::ignore = vmrpc::guarded([&]() -> vmrpc::base::Status {
        if (vmrpc::PendingCall* const call = vmrpc::in_flight(*token)) call->client->drop(*call);
        return {};
    });
    *token = {nullptr, 0};
}

vmrpc_status vmrpc_impl_then(const vmrpc_token* token, void (*then)(void* context), void* context) {
    return vmrpc::guarded([&]() -> vmrpc::base::Status {
        if (then == nullptr)
            return vmrpc::base::fail(VMRPC_BAD_ARGUMENT, "no function was given to be told of an answer");
        auto call = vmrpc::call_of(token);
        VMRPC_TRY(call);
        return (*call)->client->watch(**call, then, context);
    });
}

vmrpc_status vmrpc_impl_poll_answers(vmrpc_connection* connection, int64_t limit_ns, size_t* told) {
    if (told != nullptr) *told = 0;
    return vmrpc::guarded([&]() -> vmrpc::base::Status {
        auto client = vmrpc::client_of(connection);
        VMRPC_TRY(client);
        auto count = (*client)->poll(vmrpc::base::Deadline::in(limit_ns), limit_ns > 0);
        VMRPC_TRY(count);
        if (told != nullptr) *told = *count;
        return {};
    });
}

vmrpc_status vmrpc_impl_last_one_way_error(vmrpc_connection* connection, char* text, size_t text_bytes) {
    return vmrpc::guarded([&] { return vmrpc::last_one_way_error(connection, text, text_bytes); });
}
}
