// Functions of the client's that the server calls: what a connection does for it beside CallsFromServer.
#include "call/client_connection.hpp"
#include "call/client_wait.hpp"

#include <fmt/format.h>

namespace vmrpc::call {

using base::Deadline;

/// How many calls and calls back a call of this thread's is nested in. Errors: VMRPC_NESTED_TOO_DEEP.
base::Result<std::uint32_t> ClientConnection::depth_here() const {
    const RunningCall* const within = RunningCall::current();
    const std::uint32_t depth = within == nullptr || within->endpoint() != this ? 0 : within->depth + 1;
    if (depth <= layout::kMostCallDepth) return depth;
    return base::fail(VMRPC_NESTED_TOO_DEEP,
                      fmt::format("the call would be the {}th of calls and calls back nested in each other, and {} are "
                                  "allowed: end some before",
                                  depth, layout::kMostCallDepth));
}

base::Result<std::size_t> ClientConnection::serve(Deadline deadline, bool waits) {
    VMRPC_TRY(usable_here());
    const std::uint64_t lanes = lanes_->own_lanes() | std::uint64_t{1} << lanes_->shared_lane();
    notify::SpinBudget budget(spin_ns_);
    std::size_t served = 0;
    while (served == 0) {
        if (waits && !await_event([&] { return calls_from_server_.pending(lanes); }, deadline, budget)) break;
        auto last = CallsFromServer::Served::kOwn;
        while (!is_over() && last != CallsFromServer::Served::kNothing) {
            last = calls_from_server_.serve(lanes);
            served += last == CallsFromServer::Served::kUsers ? 1 : 0;
        }
        if (!waits || is_over()) break;
    }
    if (served == 0) VMRPC_TRY(usable());
    return served;
}

// Several threads share what is remembered here, so it is noted after the ring: who leaves the ring to another thread
// comes after it.
void ClientConnection::ring_from_any_thread() {
    // Pairs with the server's fence between arming and its last look: see must_ring().
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const std::uint32_t generation = server_ring_me().generation.load_relaxed();
    // acquire: pairs with the release below
    if (callback_ring_seen_.load(std::memory_order_acquire) == generation) return;
    stats_.rings.fetch_add(1, std::memory_order_relaxed);
    ring_peer();
    callback_ring_seen_.store(generation, std::memory_order_release);
}

}  // namespace vmrpc::call
