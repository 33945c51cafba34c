// A lane as the replying side uses it: taking requests, writing replies.
#pragma once

#include "base/clock.hpp"
#include "base/result.hpp"
#include "call/plain.hpp"
#include "call/probes.hpp"
#include "layout/lane.hpp"
#include "layout/stack_parts.hpp"
#include "layout/wild.hpp"
#include "notify/pause.hpp"
#include "stack/memory.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace vmrpc::call {

/// A request that was checked: a private copy, whose frame lies where it says.
struct CheckedRequest {
    layout::RequestBody body;
    std::uint64_t sequence = 0;
    /// The request's frame in shared memory, nullptr if it is inline. Still changing: copy it before reading it.
    const std::byte* stacked_arguments = nullptr;
    /// Where results go that are not inline; nullptr if the requester keeps no room.
    std::byte* stacked_results = nullptr;
    /// Where the function's stack begins, if the request lends the RPC stack; else nullptr.
    std::byte* lent_stack = nullptr;

    /// When the requester gives up, from now; never if it has no limit. Whatever the peer wrote is a duration.
    [[nodiscard]] base::Deadline deadline() const {
        if ((body.flags & layout::kRequestTimed) == 0) return {};
        const std::uint64_t longest = std::numeric_limits<std::int64_t>::max();
        return base::Deadline::in(static_cast<std::int64_t>(std::clamp<std::uint64_t>(body.remaining_ns, 1, longest)));
    }
};

/// Replier's private state of one lane. One thread at a time, but for answers to requests that are in the pool.
class ServerLane {
  public:
    /// `borrows`: requests may lend the lane's RPC stack.
    /// `connection`: its number, for probes.
    ServerLane(layout::Lane& lane, std::uint32_t number, std::byte* segment, layout::Extent stack, bool borrows,
               std::uint32_t connection = 0)
        : lane_(&lane),
          number_(number),
          segment_(segment),
          borrows_(borrows),
          stack_(layout::parts_of_stack(stack)),
          execution_stack_(segment, stack_),
          line_(lane.requests.lines.data()),
          connection_(connection) {}

    /// Whether a request, or something that cannot be, is there. Pairs with the requester's release.
    [[nodiscard]] bool pending() const {
        return line_->sequence.load_acquire() !=
               (next_ <= layout::kRequestRingLines ? 0 : next_ - layout::kRequestRingLines);
    }

    /// Whether the next request is there, and nothing that cannot be. Its body is seen then.
    [[nodiscard]] bool has_next() const {
        // acquire: pairs with the requester's release, so that the body and the data it points to are seen
        return line_->sequence.load_acquire() == next_;
    }
    /// Looks for a request for a while: some looks at its line, as short as the client's for a reply.
    void linger() const {
        constexpr int kLooks = 8;
        for (int look = 0; look < kLooks && !has_next(); ++look) notify::pause_between_looks();
    }
    /// A private copy of the next request's first words. Requires has_next().
    [[nodiscard]] PlainHead plain_head() const {
        const auto* const from = reinterpret_cast<const std::byte*>(&line_->body);
        return {layout::word_from_peer(from), layout::word_from_peer(from + sizeof(std::uint64_t))};
    }
    /// Copies its inline arguments, all of them, whatever it says of their size.
    void copy_inline_arguments(std::byte* to) const {
        layout::copy_from_peer(to, line_->body.inline_arguments.data(), layout::kInlineArgumentBytes);
    }
    /// Where results of a plain request go, before reply_plain().
    [[nodiscard]] std::byte* plain_results(std::uint32_t slot) {
        return reinterpret_cast<std::byte*>(lane_->replies[slot].body.inline_result.data());
    }
    /// Takes the next request and answers it. Requires has_next(), and that it is plain and names that slot.
    /// `function`, here and below, is its index, for who traces.
    [[gnu::always_inline]] void reply_plain(std::uint32_t slot, std::uint64_t sizes, const std::uint32_t& function) {
        layout::Reply& line = lane_->replies[slot];
        const std::uint64_t answer = plain_answer(sizes);
        std::memcpy(&line.body, &answer, sizeof answer);
        // release: results before it; pairs with the requester's acquire
        line.sequence.store_release(next_);
        probe_reply(connection_, number_, next_, function, VMRPC_OK);
        advance();
    }

    /// Takes a plain request whose function runs already, so that what comes after it can be served. Returns its
    /// sequence, for reply_plain_early().
    std::uint64_t take_early() {
        const std::uint64_t sequence = next_;
        advance();
        return sequence;
    }
    /// What a reply answers.
    struct Answered {
        std::uint32_t slot;
        std::uint32_t function;  // its index, for who traces
        std::uint64_t sequence;
    };
    /// Answers it; the results are written.
    void reply_plain_early(const Answered& request, std::uint64_t sizes) {
        publish(request, VMRPC_OK, static_cast<std::uint32_t>(sizes >> 32));
    }
    void reply_error_early(const Answered& request, vmrpc_status status, std::string_view text) {
        publish_error(request, status, text);
    }

    /// Whether requests are there that what runs may wait for: made by functions that the client was asked to run, or
    /// the library's own. A hint: the client wrote it, and what is taken is checked.
    [[nodiscard]] bool has_nested() const;
    /// Tells who traces that the next request, which has_next(), is about to be executed.
    void probe_next(const std::uint32_t& function) const { probe_dispatch(connection_, number_, next_, function); }
    /// The same for a request that was taken. Any thread.
    void probe(const CheckedRequest& request) const {
        probe_dispatch(connection_, number_, request.sequence, request.body.function);
    }

    /// Takes the next request. Requires pending().
    /// Errors: VMRPC_POISONED with the value that broke the protocol.
    base::Result<CheckedRequest> take();

    /// Answers with results, which are copied into the reply or the requester's frame. Requires that they fit: the
    /// caller compared their size with the room in the request.
    void reply(const CheckedRequest& request, const std::byte* results, std::uint32_t result_bytes);
    /// Answers with an error; the text is cut to its room.
    void reply_error(const CheckedRequest& request, vmrpc_status status, std::string_view text);
    /// The same for the next request, which is taken thereby. Requires has_next(), and that it names that slot.
    void reply_error(std::uint32_t slot, std::uint32_t function, vmrpc_status status, std::string_view text);

    /// Notes that a worker will answer the request that uses that slot: until it does, no other may use it.
    void enter_pool(std::uint32_t slot) {
        // relaxed: the serving thread's own notes
        std::atomic_ref(slots_in_pool_).fetch_or(1U << slot, std::memory_order_relaxed);
    }
    /// To be called before the answer.
    void leave_pool(std::uint32_t slot) {
        // relaxed: the answer's release comes after it, and the slot's next request after the answer
        std::atomic_ref(slots_in_pool_).fetch_and(~(1U << slot), std::memory_order_relaxed);
    }
    /// Slots of requests that workers will answer, as bits.
    [[nodiscard]] std::uint32_t slots_in_pool() const {
        // not an atomic_ref, which C++20 has for what is not const alone
        return __atomic_load_n(&slots_in_pool_, __ATOMIC_RELAXED);
    }

    /// Its number in the connection.
    [[nodiscard]] std::uint32_t number() const { return number_; }

    /// The part of the RPC stack that is lent.
    [[nodiscard]] stack::GuardedStack& execution_stack() { return execution_stack_; }

    /// What this lane remembers of the client's ring-me generation.
    [[nodiscard]] std::uint32_t& ring_seen() { return ring_seen_; }

  private:
    void advance() { line_ = &lane_->requests.lines[next_++ % layout::kRequestRingLines]; }
    [[nodiscard]] base::Status check(CheckedRequest& request) const;
    void publish_error(const Answered& request, vmrpc_status status, std::string_view text);
    void publish(const Answered& request, vmrpc_status status, std::uint32_t bytes);

    layout::Lane* lane_;
    std::uint32_t number_;
    std::byte* segment_;
    bool borrows_;
    layout::StackParts stack_;
    stack::GuardedStack execution_stack_;
    const layout::Request* line_;  // of the next request
    std::uint64_t next_ = 1;       // its sequence
    std::uint32_t ring_seen_ = 0;
    std::uint32_t slots_in_pool_ = 0;  // private: changed by this side's threads alone
    std::uint32_t connection_;
};

}  // namespace vmrpc::call
