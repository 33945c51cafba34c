// Calls that workers execute: what a connection does for its pool.
#include "call/server_connection.hpp"
#include "call/worker_pool.hpp"

#include <exception>

namespace vmrpc::call {

/// False: there is no memory for it, and it has been answered with that.
bool ServerConnection::hand_to_pool(ServerLane& lane, const CheckedRequest& request,
                                    const FunctionTable::Entry& entry) {
    try {
        pool_->add(*this, lane, request, entry);
        return true;
    } catch (const std::bad_alloc&) {
        lane.reply_error(request, VMRPC_OUT_OF_RESOURCES, "the server has no memory to queue the call: retry later");
        count(entry, VMRPC_OUT_OF_RESOURCES, nullptr);
        return false;
    }
}

void ServerConnection::cancel_for_client(std::uint64_t sequence) {
    const ServerLane& on_lane = *here_->lane;
    // One that waits for the client in a function of ours, on this thread.
    for (RunningCall* call = here_->outer(); call != nullptr; call = call->outer()) {
        if (call->endpoint() == this && call->lane == &on_lane && call->lane_sequence == sequence) call->cancel();
    }
    if (pool_ != nullptr) pool_->cancel(*this, on_lane, sequence);
}

void ServerConnection::serve_pooled(PooledCall& call, ServerFrame& frame) {
    if (const base::Status over = usable(); !over) return answer(call, over.error().status, over.error().text);
    if (call.deadline.passed())
        return answer(call, VMRPC_TIMED_OUT, "the time limit had passed before a worker could run the call");
    try {
        // A stack that is lent stays unused: the worker has its own.
        CheckedRequest request = call.request;
        request.lent_stack = nullptr;
        const base::Status done = execute(call, *call.lane, request, call.entry, frame);
        if (!done) {
            const bool gave_up = done.error().status == VMRPC_FUNCTION_FAILED && call.cancel_came();
            return answer(call, gave_up ? VMRPC_CANCELLED : done.error().status, done.error().text, &frame);
        }
    } catch (const std::exception& exception) {  // no memory for a copy, or a text
        return answer(call, VMRPC_OUT_OF_RESOURCES, exception.what(), &frame);
    }
    if (call.deadline.passed()) call.entry.counters->deadline_misses.add();
    count(call.entry, VMRPC_OK, &frame);
    call.lane->leave_pool(call.request.body.slot);
    call.lane->reply(call.request, frame.results(), call.request.body.result_bytes);
    ring_from_any_thread();
}

void ServerConnection::answer(PooledCall& call, vmrpc_status status, std::string_view text, const ServerFrame* frame) {
    if (call.deadline.passed()) call.entry.counters->deadline_misses.add();
    count(call.entry, status, frame);
    call.lane->leave_pool(call.request.body.slot);
    call.lane->reply_error(call.request, status, text);
    ring_from_any_thread();
}

// Several threads share what is remembered here, so it is noted after the ring: who leaves the ring to another thread
// comes after it.
void ServerConnection::ring_from_any_thread() {
    // Pairs with the client's fence between arming and its last look: see must_ring().
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const std::uint32_t generation = control().ring_me[index_of(layout::Side::kClient)].generation.load_relaxed();
    // acquire: pairs with the release below
    if (worker_ring_seen_.load(std::memory_order_acquire) == generation) return;
    counters_.rings.add();
    ring_peer();
    worker_ring_seen_.store(generation, std::memory_order_release);
}

}  // namespace vmrpc::call
