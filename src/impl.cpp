// What the stubs of declare.h and of the C++ headers call. Nothing throws across it.
#include "call/addresses.hpp"
#include "call/client_plain.hpp"
#include "call/function.hpp"
#include "guarded.hpp"
#include "handles.hpp"
#include "options.hpp"
#include "stack/control_words.hpp"
#include "stack/switch.hpp"

#include <vmrpc/vmrpc.h>

#include <fmt/format.h>

#include <cstddef>
#include <exception>
#include <new>
#include <optional>
#include <utility>

namespace vmrpc {
namespace {

using base::Status;

/// Of our own code, with room to spare: where it holds locks the stack must not end.
constexpr std::size_t kStackBytesOfACall = std::size_t{16} * 1024;

Status call_back(call::ServerConnection& connection, vmrpc_impl_function& declaration, const vmrpc_call_options* given,
                 void* const* arguments, void* result) {
    auto function = call::registered(declaration);
    VMRPC_TRY(function);
    const auto limit_ns = read_limit(given, connection.callback_limit_ns());
    VMRPC_TRY(limit_ns);
    return connection.call_back(*function, *limit_ns, arguments, result);
}

Status call_function(vmrpc_connection* connection, vmrpc_impl_function* declaration, const vmrpc_call_options* given,
                     void* const* arguments, void* result) {
    const auto endpoint = endpoint_of(connection);
    VMRPC_TRY(endpoint);
    if (declaration == nullptr) return base::fail(VMRPC_BAD_ARGUMENT, "no function was given");
    if ((*endpoint)->side() == layout::Side::kServer)
        return call_back(static_cast<call::ServerConnection&>(**endpoint), *declaration, given, arguments, result);
    auto* const client = static_cast<call::ClientConnection*>(*endpoint);
    if (const std::size_t left = stack::bytes_left(); left < kStackBytesOfACall)
        return base::fail(VMRPC_STACK_OVERFLOW,
                          fmt::format("{} bytes are left on the RPC stack, and a call takes up to {}: build large "
                                      "objects in the heap",
                                      left, kStackBytesOfACall));
    auto function = call::registered(*declaration);
    VMRPC_TRY(function);
    const auto limit_ns = read_limit(given, client->default_limit_ns());
    VMRPC_TRY(limit_ns);
    return client->call(*function, *limit_ns, arguments, result);
}

// The ways of a call. The shortest is vmrpc_impl_call() itself; the others are functions of their own, which it calls
// last of all, lest they take registers from it.

using Plain = call::ClientConnection::Plain;

inline bool is_client(const vmrpc_connection* connection) {
    return connection != nullptr && connection->kind == call::HandleKind::kClient;
}

/// What a short way left undone: its request is on its way.
[[gnu::noinline]] vmrpc_status finish(vmrpc_connection* connection, const vmrpc_impl_function& declaration,
                                      void* const* arguments, void* result) noexcept {
    return guarded([&] {
        return static_cast<call::ClientConnection*>(connection)
            ->finish_plain(call::registered_before(declaration), arguments, result);
    });
}

/// The short way of a function with values. Nothing if it cannot be taken.
inline std::optional<vmrpc_status> call_shorter(call::ClientConnection& client, const call::Registered& function,
                                                const vmrpc_impl_function& declaration, void* const* arguments,
                                                void* result) noexcept {
    const Plain plain = client.call_with_values(function, arguments, result);
    if (plain == Plain::kDone) return VMRPC_OK;
    if (plain == Plain::kPosted) return finish(&client, declaration, arguments, result);
    return std::nullopt;
}

/// The same for any function, timed.
[[gnu::noinline]] std::optional<vmrpc_status> call_timed(call::ClientConnection& client,
                                                         const call::Registered& function,
                                                         const vmrpc_impl_function& declaration, void* const* arguments,
                                                         void* result) noexcept {
    call::Sample timed = client.sample(function);
    const auto status = call_shorter(client, function, declaration, arguments, result);
    if (status)
        timed.end(client.own_lane());
    else
        timed.cancel(client.own_lane());
    return status;
}

/// A call that lends the stack that it is made on, as what does it on another stack sees it.
struct LendingCall {
    call::ClientConnection* client;
    vmrpc_impl_function* declaration;
    void* const* arguments;
    void* result;
    const std::byte* frame_end;  // behind the return address into the caller's code
};

Status call_lending(const LendingCall& call, std::byte* lent) {
    auto function = call::registered(*call.declaration);
    VMRPC_TRY(function);
    const stack::ControlWords words(lent, call.frame_end);
    Status status = call.client->call_lending(*function, call.arguments, call.result, lent);
    const void* const changed = words.changed();
    if (changed == nullptr) return status;
    words.restore();
    base::Error error{VMRPC_POISONED,
                      fmt::format("{} wrote over its caller's control words, at {}: the server's function writes where "
                                  "it may not; the connection is over",
                                  function->function->name(), changed)};
    call.client->end(error);
    return tl::unexpected<base::Error>(std::move(error));
}

/// On the RPC stack, by way of the stack that on_rpc_stack() was called on: nothing of ours runs on what is lent.
[[gnu::noinline]] vmrpc_status lend_stack(call::ClientConnection& client, vmrpc_impl_function& declaration,
                                          void* const* arguments, void* result) noexcept {
    const auto* const frame = static_cast<const std::byte*>(__builtin_frame_address(0));
    LendingCall call{&client, &declaration, arguments, result, frame + 2 * sizeof(void*)};
    const auto work = [](void* given, std::byte* lent) noexcept -> std::uintptr_t {
        const LendingCall its_call = *static_cast<const LendingCall*>(given);
        return static_cast<std::uintptr_t>(guarded([&] { return call_lending(its_call, lent); }));
    };
    return static_cast<vmrpc_status>(stack::on_host({work, &call}));
}

/// The short way of a function with values, and the long way of all.
[[gnu::noinline]] vmrpc_status call_longer(vmrpc_connection* connection, vmrpc_impl_function* declaration,
                                           const vmrpc_call_options* options, void* const* arguments,
                                           void* result) noexcept {
    if (options == nullptr && declaration != nullptr && is_client(connection)) {
        auto& client = *static_cast<call::ClientConnection*>(connection);
        if (client.lends_stack_here() && client.default_limit_ns() == 0)
            return lend_stack(client, *declaration, arguments, result);
        const call::Registered function = call::registered_before(*declaration);
        if (function.function != nullptr) {
            const auto status = client.is_sample_due()
                                    ? call_timed(client, function, *declaration, arguments, result)
                                    : call_shorter(client, function, *declaration, arguments, result);
            if (status) return *status;
        }
    }
    return guarded([&] { return call_function(connection, declaration, options, arguments, result); });
}

Status require_function(vmrpc_connection* connection, vmrpc_impl_function* declaration) {
    auto client = client_of(connection);
    VMRPC_TRY(client);
    if (declaration == nullptr) return base::fail(VMRPC_BAD_ARGUMENT, "no function was given");
    auto function = call::registered(*declaration);
    VMRPC_TRY(function);
    return (*client)->require(*function);
}

Status add_function(vmrpc_server* server, vmrpc_impl_function* declaration, vmrpc_impl_handler handler, void* user,
                    void (*release)(void* user), const vmrpc_add_options* given) {
    auto loop = server_of(server);
    VMRPC_TRY(loop);
    auto options = read_options(given, "vmrpc_add_options");
    VMRPC_TRY(options);
    if (declaration == nullptr || handler == nullptr)
        return base::fail(VMRPC_BAD_ARGUMENT, "a function needs a declaration and a handler");
    auto function = call::registered(*declaration);
    VMRPC_TRY(function);
    return (*loop)->add(
        {function->function, handler, user, release},
        {.is_pooled = options->pooled != 0, .is_ordered = options->ordered != 0, .most_running = options->max_running});
}

Status read_stats(vmrpc_connection* connection, vmrpc_impl_stats* stats) {
    auto endpoint = endpoint_of(connection);
    VMRPC_TRY(endpoint);
    if (stats == nullptr) return base::fail(VMRPC_BAD_ARGUMENT, "the stats of a connection without a place for them");
    auto known = read_options(stats, "vmrpc_impl_stats");
    VMRPC_TRY(known);
    if ((*endpoint)->side() == layout::Side::kClient) static_cast<call::ClientConnection&>(**endpoint).sweep_async();
    const auto heap = (*endpoint)->heap().stats();
    *stats = {};
    stats->struct_bytes = sizeof *stats;
    stats->live_blocks = heap.own.live_blocks;
    stats->live_bytes = heap.own.live_bytes;
    stats->committed_bytes = heap.committed_bytes;
    if ((*endpoint)->side() != layout::Side::kClient) return {};
    auto& client = static_cast<call::ClientConnection&>(**endpoint);
    stats->calls = client.calls();
    stats->calls_abandoned = client.abandoned();
    stats->implicit_copies = client.stats().implicit_copies.load(std::memory_order_relaxed);
    stats->implicit_copy_bytes = client.stats().implicit_copy_bytes.load(std::memory_order_relaxed);
    stats->rings = client.stats().rings.load(std::memory_order_relaxed);
    stats->one_way_errors = client.one_way_errors();
    stats->sleeps = client.stats().sleeps.load(std::memory_order_relaxed);
    return {};
}

Status read_heap_stats(vmrpc_connection* connection, vmrpc_heap heap, vmrpc_heap_stats* stats) {
    auto endpoint = endpoint_of(connection);
    VMRPC_TRY(endpoint);
    if (stats == nullptr) return base::fail(VMRPC_BAD_ARGUMENT, "VMRPC_HEAP_STATS without a place for the stats");
    auto known = read_options(stats, "vmrpc_heap_stats");
    VMRPC_TRY(known);
    const auto read = (*endpoint)->heap_stats(heap);
    VMRPC_TRY(read);
    *stats = {.struct_bytes = sizeof *stats,
              .reserved_bytes = read->own.reserved_bytes,
              .committed_bytes = read->committed_bytes,
              .live_bytes = read->own.live_bytes,
              .live_blocks = read->own.live_blocks,
              .failed_allocations = read->own.failed_allocations,
              .remote_frees_sent = read->remote_frees_sent,
              .remote_frees_received = read->remote_frees_received,
              .remote_frees_waiting = read->spilled_now};
    return {};
}

Status on_rpc_stack(vmrpc_connection* connection, void (*run)(void* argument), void* argument) {
    auto client = client_of(connection);
    VMRPC_TRY(client);
    if (run == nullptr) return base::fail(VMRPC_BAD_ARGUMENT, "no function was given to run on the RPC stack");
    return (*client)->on_rpc_stack(run, argument);
}

vmrpc_impl_span shared_memory(const call::Endpoint& endpoint) {
    return {endpoint.segment() + endpoint.data().offset, static_cast<std::size_t>(endpoint.data().bytes)};
}

/// The part of it that an address lies in.
vmrpc_impl_span memory_around(const call::Endpoint& endpoint, const void* address) {
    const auto range = endpoint.range_holding(address);
    return {range.data(), range.size()};
}

}  // namespace
}  // namespace vmrpc

extern "C" {

vmrpc_status vmrpc_impl_call(vmrpc_connection* connection, vmrpc_impl_function* function,
                             const vmrpc_call_options* options, void* const* arguments, void* result) {
    if (options != nullptr || function == nullptr || connection == nullptr) [[unlikely]]
        return vmrpc::call_longer(connection, function, options, arguments, result);
    const auto plain =
        vmrpc::call::ClientConnection::call_without_values(*connection, vmrpc::call::number_of(*function));
    if (plain == vmrpc::Plain::kDone) [[likely]]
        return VMRPC_OK;
    return plain == vmrpc::Plain::kPosted ? vmrpc::finish(connection, *function, arguments, result)
                                          : vmrpc::call_longer(connection, function, options, arguments, result);
}

vmrpc_status vmrpc_impl_require(vmrpc_connection* connection, vmrpc_impl_function* function) {
    return vmrpc::guarded([&] { return vmrpc::require_function(connection, function); });
}

vmrpc_status vmrpc_impl_on_rpc_stack(vmrpc_connection* connection, void (*run)(void* argument), void* argument) {
    return vmrpc::guarded([&] { return vmrpc::on_rpc_stack(connection, run, argument); });
}

vmrpc_status vmrpc_impl_add(vmrpc_server* server, vmrpc_impl_function* function, vmrpc_impl_handler handler, void* user,
                            void (*release)(void* user), const vmrpc_add_options* options) {
    return vmrpc::guarded([&] { return vmrpc::add_function(server, function, handler, user, release, options); });
}

vmrpc_status vmrpc_impl_run(vmrpc_server* server) {
    return vmrpc::guarded([&]() -> vmrpc::base::Status {
        auto loop = vmrpc::server_of(server);
        VMRPC_TRY(loop);
        return (*loop)->run();
    });
}

vmrpc_status vmrpc_impl_poll(vmrpc_server* server, uint64_t* taken) {
    if (taken != nullptr) *taken = 0;
    return vmrpc::guarded([&]() -> vmrpc::base::Status {
        auto loop = vmrpc::server_of(server);
        VMRPC_TRY(loop);
        const auto count = (*loop)->poll();
        VMRPC_TRY(count);
        if (taken != nullptr) *taken = *count;
        return {};
    });
}

int vmrpc_impl_descriptor(vmrpc_server* server) {
    const auto loop = vmrpc::server_of(server);
    return loop && (*loop)->is_ours() ? (*loop)->descriptor() : -1;
}

void vmrpc_impl_stop(vmrpc_server* server) {
    // No text, no allocation, no lock: signal handlers call this.
    if (server != nullptr && server->kind == vmrpc::call::HandleKind::kServer)
        static_cast<vmrpc::ServerLoop*>(server)->stop();
}

const vmrpc_caller* vmrpc_impl_current_caller(void) {
    const auto* endpoint = vmrpc::call::RunningCall::current_endpoint();
    return endpoint == nullptr ? nullptr : &endpoint->caller();
}

int64_t vmrpc_impl_remaining_ns(void) {
    const auto* call = vmrpc::call::RunningCall::current();
    return call == nullptr || call->deadline.is_never() ? INT64_MAX : call->deadline.remaining_ns();
}

int vmrpc_impl_is_cancelled(void) {
    const auto* call = vmrpc::call::RunningCall::current();
    return call != nullptr && call->is_in_vain() ? 1 : 0;
}

vmrpc_status vmrpc_impl_fail(const char* text) {
    return vmrpc::guarded([&]() -> vmrpc::base::Status {
        auto* call = vmrpc::call::RunningCall::current();
        if (call == nullptr) return vmrpc::base::fail(VMRPC_BAD_ARGUMENT, "VMRPC_FAIL outside of a server function");
        call->fail(text == nullptr ? "the function failed" : text);
        return {};
    });
}

vmrpc_status vmrpc_impl_read_stats(vmrpc_connection* connection, vmrpc_impl_stats* stats) {
    return vmrpc::guarded([&] { return vmrpc::read_stats(connection, stats); });
}

vmrpc_status vmrpc_impl_read_heap_stats(vmrpc_connection* connection, vmrpc_heap heap, vmrpc_heap_stats* stats) {
    return vmrpc::guarded([&] { return vmrpc::read_heap_stats(connection, heap, stats); });
}

size_t vmrpc_impl_usable_bytes(vmrpc_connection* connection, const void* block) {
    const auto endpoint = vmrpc::endpoint_of(connection);
    return endpoint && block != nullptr ? (*endpoint)->usable_bytes(block).value_or(0) : 0;
}

vmrpc_status vmrpc_impl_trim_heap(vmrpc_connection* connection) {
    return vmrpc::guarded([&]() -> vmrpc::base::Status {
        auto endpoint = vmrpc::endpoint_of(connection);
        VMRPC_TRY(endpoint);
        (*endpoint)->trim();
        return {};
    });
}

uint64_t vmrpc_impl_to_wire(vmrpc_connection* connection, const void* pointer) {
    const auto endpoint = vmrpc::endpoint_of(connection);
    return endpoint && pointer != nullptr ? (*endpoint)->to_wire(pointer, 1).value_or(0) : 0;
}

void* vmrpc_impl_from_wire(vmrpc_connection* connection, uint64_t wire, uint64_t bytes, uint64_t alignment) {
    const auto endpoint = vmrpc::endpoint_of(connection);
    return endpoint && wire != 0 ? (*endpoint)->from_wire(wire, bytes, alignment) : nullptr;
}

vmrpc_connection* vmrpc_impl_connection_of(const void* address, vmrpc_impl_span* range) {
    vmrpc::call::Endpoint* const endpoint = vmrpc::call::endpoint_holding(address);
    if (range != nullptr)
        *range = endpoint == nullptr ? vmrpc_impl_span{nullptr, 0} : vmrpc::memory_around(*endpoint, address);
    return endpoint;
}

int vmrpc_impl_is_trusted(vmrpc_connection* connection) {
    if (connection == nullptr) return 0;
    const auto endpoint = vmrpc::endpoint_of(connection);
    return endpoint && ((*endpoint)->side() == vmrpc::layout::Side::kClient || (*endpoint)->trusted()) ? 1 : 0;
}

vmrpc_impl_span vmrpc_impl_shared_memory(vmrpc_connection* connection) {
    const auto endpoint = vmrpc::endpoint_of(connection);
    return endpoint ? vmrpc::shared_memory(**endpoint) : vmrpc_impl_span{nullptr, 0};
}
}
