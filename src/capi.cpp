// The eight functions of the C API. Nothing throws across them.
#include "call/client_connection.hpp"
#include "guarded.hpp"
#include "handles.hpp"
#include "last_error.hpp"
#include "options.hpp"
#include "server.hpp"

#include <vmrpc/vmrpc.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <tuple>
#include <utility>

namespace vmrpc {
namespace {

using base::Result;
using base::Status;

heap::CommitOptions commit_options(std::uint64_t limit_bytes, std::int64_t trim_after_ns) {
    heap::CommitOptions made;
    if (limit_bytes != 0) made.limit_bytes = limit_bytes;
    if (trim_after_ns != 0) made.trim_after_ns = trim_after_ns > 0 ? trim_after_ns : heap::CommitOptions::kNever;
    return made;
}

Status check_borrow_stack(int borrow_stack, int trust_peer) {
    if (borrow_stack == 0 || trust_peer != 0) return {};
    return base::fail(VMRPC_BAD_ARGUMENT,
                      "borrow_stack without trust_peer: on a stack that both use each side can change the other's "
                      "control flow; set trust_peer too, or neither");
}

Result<vmrpc_huge_pages> checked_huge_pages(int value) {
    if (value >= VMRPC_HUGE_PAGES_NONE && value <= VMRPC_HUGE_PAGES_TRANSPARENT)
        return static_cast<vmrpc_huge_pages>(value);
    return base::fail(
        VMRPC_BAD_ARGUMENT,
        fmt::format("huge_pages is {}: set it to a value of vmrpc_huge_pages, {} to {}", value,
                    static_cast<int>(VMRPC_HUGE_PAGES_NONE), static_cast<int>(VMRPC_HUGE_PAGES_TRANSPARENT)));
}

Result<call::ClientOptions> client_options(const char* address, const vmrpc_connect_options* given) {
    auto options = read_options(given, "vmrpc_connect_options");
    VMRPC_TRY(options);
    if (address == nullptr) return base::fail(VMRPC_BAD_ADDRESS, "the address is NULL: give one, as \"local:PATH\"");
    if (options->max_lanes > layout::kMaxLanes || options->timeout_ns < 0 || options->default_limit_ns < 0)
        return base::fail(
            VMRPC_BAD_ARGUMENT,
            fmt::format("max_lanes is {} (at most {}), timeout_ns {} and default_limit_ns {} (both 0 or more)",
                        options->max_lanes, layout::kMaxLanes, options->timeout_ns, options->default_limit_ns));
    VMRPC_TRY(check_borrow_stack(options->borrow_stack, options->trust_peer));
    const auto huge_pages = checked_huge_pages(options->huge_pages);
    VMRPC_TRY(huge_pages);
    call::ClientOptions made;
    made.address = address;
    made.wishes = {.heap_bytes = options->heap_bytes,
                   .lane_count = options->max_lanes == 0 ? layout::kMaxLanes : options->max_lanes,
                   .trust_peer = options->trust_peer != 0,
                   .borrow_stack = options->borrow_stack != 0,
                   .equal_addresses = options->unequal_addresses == 0,
                   .huge_pages = *huge_pages};
    made.timeout_ns = options->timeout_ns;
    made.default_limit_ns = options->default_limit_ns;
    made.spin_ns = options->spin_ns;
    made.commit = commit_options(options->commit_limit_bytes, options->trim_after_ns);
    made.preparation = {.prefault = options->prefault != 0, .lock = options->lock != 0};
    return made;
}

Result<ServeOptions> serve_options(const char* address, const vmrpc_serve_options* given) {
    auto options = read_options(given, "vmrpc_serve_options");
    VMRPC_TRY(options);
    if (address == nullptr) return base::fail(VMRPC_BAD_ADDRESS, "the address is NULL: give one, as \"local:PATH\"");
    if (options->max_lanes > layout::kMaxLanes)
        return base::fail(VMRPC_BAD_ARGUMENT, fmt::format("max_lanes is {}; at most {} are possible",
                                                          options->max_lanes, layout::kMaxLanes));
    constexpr std::int64_t kDefaultCallbackLimitNs = 10'000'000'000;
    if (options->workers > kMostWorkers)
        return base::fail(VMRPC_BAD_ARGUMENT,
                          fmt::format("workers is {}; at most {} are possible", options->workers, kMostWorkers));
    VMRPC_TRY(check_borrow_stack(options->borrow_stack, options->trust_peer));
    const auto huge_pages = checked_huge_pages(options->huge_pages);
    VMRPC_TRY(huge_pages);
    ServeOptions made;
    made.address = address;
    made.most = {.heap_bytes = options->heap_bytes,
                 .lane_count = options->max_lanes == 0 ? layout::kMaxLanes : options->max_lanes,
                 .trust_peer = options->trust_peer != 0,
                 .borrow_stack = options->borrow_stack != 0,
                 .equal_addresses = true,
                 .huge_pages = *huge_pages,
                 .allow_huge_pages = options->allow_huge_pages != 0,
                 .further_bytes = options->further_heap_bytes};
    made.spin_ns = options->spin_ns;
    made.commit = commit_options(options->commit_limit_bytes, options->trim_after_ns);
    made.preparation = {.prefault = options->prefault != 0, .lock = options->lock != 0};
    made.max_connections = options->max_connections;
    made.on_open = options->on_open;
    made.on_close = options->on_close;
    made.user = options->user;
    made.workers = options->workers;
    made.max_client_calls = options->max_client_calls;
    if (options->calls_per_turn != 0) made.calls_per_turn = options->calls_per_turn;
    made.drain_limit_ns = options->drain_limit_ns;
    made.callback_limit_ns = options->callback_limit_ns == 0 ? kDefaultCallbackLimitNs
                                                             : std::max<std::int64_t>(options->callback_limit_ns, 0);
    return made;
}

Status connect(const char* address, const vmrpc_connect_options* given, vmrpc_connection** connection) {
    auto options = client_options(address, given);
    VMRPC_TRY(options);
    auto made = call::ClientConnection::connect(*options);
    VMRPC_TRY(made);
    *connection = made->get();
    add_open_handle(*connection);
    std::ignore = made->release();
    return {};
}

Status serve(const char* address, const vmrpc_serve_options* given, vmrpc_server** server) {
    auto options = serve_options(address, given);
    VMRPC_TRY(options);
    auto made = ServerLoop::listen(*options);
    VMRPC_TRY(made);
    *server = made->get();
    add_open_handle(*server);
    std::ignore = made->release();
    return {};
}

Status close_server(vmrpc_server* server) {
    auto* loop = static_cast<ServerLoop*>(server);
    if (loop->is_running() && loop->is_ours()) {
        add_open_handle(server);
        return base::fail(VMRPC_BAD_ARGUMENT, "vmrpc_close with a server that is running: stop it, and wait for run");
    }
    if (loop->is_serving_here()) {
        add_open_handle(server);
        return base::fail(VMRPC_BAD_ARGUMENT,
                          "vmrpc_close with a server by a function that it serves: close it when that has returned");
    }
    server->kind = call::HandleKind::kClosed;
    delete loop;
    return {};
}

Status close(void* handle) {
    if (is_under_running_code(handle))
        return base::fail(VMRPC_BAD_ARGUMENT,
                          "vmrpc_close by code on the connection's own RPC stack: close it when that has returned");
    if (is_running_function_of(handle))
        return base::fail(VMRPC_BAD_ARGUMENT,
                          "vmrpc_close with a connection by a function that its server calls: close it when that has "
                          "returned");
    if (!take_open_handle(handle))
        return base::fail(VMRPC_BAD_ARGUMENT,
                          fmt::format("vmrpc_close with {}, which is no open connection or server: was it closed "
                                      "before? A server's ends of connections end with it",
                                      handle));
    if (*static_cast<const call::HandleKind*>(handle) == call::HandleKind::kServer)
        return close_server(static_cast<vmrpc_server*>(handle));
    auto* connection = static_cast<vmrpc_connection*>(handle);
    connection->kind = call::HandleKind::kClosed;
    delete static_cast<call::Endpoint*>(connection);
    return {};
}

Status heap_setup(vmrpc_connection* connection, const vmrpc_heap_options* given, vmrpc_heap* heap) {
    auto options = read_options(given, "vmrpc_heap_options");
    VMRPC_TRY(options);
    auto endpoint = usable_endpoint_of(connection);
    VMRPC_TRY(endpoint);
    if (heap == nullptr || options->bytes == 0)
        return base::fail(VMRPC_BAD_ARGUMENT,
                          "vmrpc_heap_setup needs a place for the heap, and options with bytes above 0");
    const bool is_paid_ahead = options->prefault != 0 || options->lock != 0;
    if (options->within != 0 && is_paid_ahead)
        return base::fail(VMRPC_BAD_ARGUMENT,
                          "vmrpc_heap_setup with `within` and prefault or lock: a heap inside another has "
                          "its memory; set them where the connection is made");
    auto made = options->within != 0 ? (*endpoint)->heap().setup(options->bytes)
                                     : (*endpoint)->set_up_heap({.bytes = options->bytes,
                                                                 .preparation = {.prefault = options->prefault != 0,
                                                                                 .lock = options->lock != 0}});
    VMRPC_TRY(made);
    *heap = static_cast<vmrpc_heap>(*made);
    return {};
}

Status heap_destroy(vmrpc_connection* connection, vmrpc_heap heap) {
    auto endpoint = endpoint_of(connection);
    VMRPC_TRY(endpoint);
    return (*endpoint)->destroy_heap(heap);
}

/// This thread's cache of the connection's blocks, if it used that last and the connection is not over: all that
/// allocating and freeing take in the common case.
heap::ThreadCache* cache_of(const vmrpc_connection& connection) {
    // relaxed: who comes too late to see that the connection is over gets a block that is of no use
    return heap::last_cache_of(connection.heap_serial.load(std::memory_order_relaxed));
}

Result<void*> allocate(vmrpc_connection* connection, std::size_t bytes, const vmrpc_malloc_options* given) {
    auto endpoint = usable_endpoint_of(connection);
    VMRPC_TRY(endpoint);
    if (given == nullptr) return (*endpoint)->heap().allocate(bytes);
    auto options = read_options(given, "vmrpc_malloc_options");
    VMRPC_TRY(options);
    return (*endpoint)->allocate(
        bytes,
        {.alignment = options->alignment == 0 ? heap::kDefaultAlignment : options->alignment, .heap = options->heap});
}

Status release(vmrpc_connection* connection, void* block) {
    if (block == nullptr) return {};
    auto endpoint = endpoint_of(connection);
    VMRPC_TRY(endpoint);
    return (*endpoint)->release(block);
}

// What is not as usual, apart, lest it takes registers from the short ways.

[[gnu::noinline]] void* allocate_longer(vmrpc_connection* connection, std::size_t bytes,
                                        const vmrpc_malloc_options* options) noexcept {
    void* block = nullptr;
    guarded([&]() -> Status {
        auto allocated = allocate(connection, bytes, options);
        VMRPC_TRY(allocated);
        block = *allocated;
        return {};
    });
    return block;
}

/// A block of the other side's: how a call ends that was handed one.
bool release_remote_at_once(vmrpc_connection& connection, void* block) noexcept {
    // relaxed: as in cache_of()
    if (connection.heap_serial.load(std::memory_order_relaxed) == 0) return false;
    if (connection.kind == call::HandleKind::kClient &&
        !static_cast<call::ClientConnection&>(connection).is_of_this_process())
        return false;
    return static_cast<call::Endpoint&>(connection).heap().release_remote_at_once(block);
}

[[gnu::noinline]] vmrpc_status release_longer(vmrpc_connection* connection, void* block) noexcept {
    if (connection != nullptr && release_remote_at_once(*connection, block)) [[likely]]
        return VMRPC_OK;
    return guarded([&] { return release(connection, block); });
}

}  // namespace
}  // namespace vmrpc

extern "C" {

vmrpc_status vmrpc_connect(const char* address, const vmrpc_connect_options* options, vmrpc_connection** connection) {
    if (connection == nullptr)
        return vmrpc::failed({VMRPC_BAD_ARGUMENT, "vmrpc_connect without a place for the connection"});
    *connection = nullptr;
    return vmrpc::guarded([&] { return vmrpc::connect(address, options, connection); });
}

vmrpc_status vmrpc_serve(const char* address, const vmrpc_serve_options* options, vmrpc_server** server) {
    if (server == nullptr) return vmrpc::failed({VMRPC_BAD_ARGUMENT, "vmrpc_serve without a place for the server"});
    *server = nullptr;
    return vmrpc::guarded([&] { return vmrpc::serve(address, options, server); });
}

vmrpc_status vmrpc_close(void* connection_or_server) {
    if (connection_or_server == nullptr) return VMRPC_OK;
    return vmrpc::guarded([&] { return vmrpc::close(connection_or_server); });
}

vmrpc_status vmrpc_heap_setup(vmrpc_connection* connection, const vmrpc_heap_options* options, vmrpc_heap* heap) {
    return vmrpc::guarded([&] { return vmrpc::heap_setup(connection, options, heap); });
}

vmrpc_status vmrpc_heap_destroy(vmrpc_connection* connection, vmrpc_heap heap) {
    return vmrpc::guarded([&] { return vmrpc::heap_destroy(connection, heap); });
}

void* vmrpc_malloc(vmrpc_connection* connection, size_t bytes, const vmrpc_malloc_options* options) {
    if (connection == nullptr) connection = vmrpc::call::RunningCall::current_endpoint();
    if (connection != nullptr && options == nullptr) [[likely]] {
        vmrpc::heap::ThreadCache* const cache = vmrpc::cache_of(*connection);
        void* const block = cache == nullptr ? nullptr : cache->take(bytes);
        if (block != nullptr) [[likely]]
            return block;
    }
    return vmrpc::allocate_longer(connection, bytes, options);
}

vmrpc_status vmrpc_free(vmrpc_connection* connection, void* block) {
    if (connection == nullptr) connection = vmrpc::call::RunningCall::current_endpoint();
    if (connection != nullptr) [[likely]] {
        vmrpc::heap::ThreadCache* const cache = vmrpc::cache_of(*connection);
        if (cache != nullptr && cache->give(block)) [[likely]]
            return VMRPC_OK;
    }
    return vmrpc::release_longer(connection, block);
}

ptrdiff_t vmrpc_offset(vmrpc_connection* connection, vmrpc_heap heap) {
    ptrdiff_t offset = 0;
    vmrpc::guarded([&]() -> vmrpc::base::Status {
        const auto endpoint = vmrpc::endpoint_of(connection);
        VMRPC_TRY(endpoint);
        const auto found = (*endpoint)->offset(heap);
        VMRPC_TRY(found);
        offset = *found;
        return {};
    });
    return offset;
}
}
