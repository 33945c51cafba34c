// A lane as the requesting side uses it: posting requests, taking replies, and what becomes of calls given up.
#pragma once

#include "base/clock.hpp"
#include "base/cpu.hpp"
#include "base/result.hpp"
#include "call/counters.hpp"
#include "call/function.hpp"
#include "call/pending_call.hpp"
#include "call/plain.hpp"
#include "call/probes.hpp"
#include "layout/lane.hpp"
#include "layout/stack_parts.hpp"
#include "layout/wild.hpp"
#include "notify/pause.hpp"
#include "notify/spin.hpp"
#include "stack/memory.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace vmrpc::call {

/// Less of an RPC stack is not lent, in bytes.
inline constexpr std::uint64_t kMinLentBytes = std::uint64_t{16} * 1024;

/// Memory that a call holds until the server will never write it again.
struct Held {
    std::vector<void*> blocks;     // copies that were made for it, in this side's arena
    bool result_is_block = false;  // a late reply brings a block that nobody wants
    bool is_one_way = false;       // an error that the reply brings is counted
};

/// How a one-way call ended that failed.
struct OneWayError {
    std::uint64_t sequence;  // of the request
    std::uint32_t status;
    std::string text;
};

/// What a request says of its time limit: the nanoseconds that are left, or 0 if it has none. One that has just passed
/// is none the less a limit.
inline std::uint64_t remaining_word(base::Deadline deadline) {
    return deadline.is_never() ? 0 : std::max<std::uint64_t>(1, static_cast<std::uint64_t>(deadline.remaining_ns()));
}

/// One call in flight.
struct Slot {
    std::uint32_t index = 0;
    std::uint64_t sequence = 0;
    std::byte* arguments = nullptr;  // where to write the request's frame
    std::byte* results = nullptr;    // where results will lie; nullptr: in the reply's line
    bool is_lent = false;            // the server runs the function on this lane's RPC stack, below the frame
};

/// Requester's private state of one lane. One thread at a time.
class ClientLane {
  public:
    /// `connection`: its number, for probes.
    ClientLane(layout::Lane& lane, std::uint32_t number, std::byte* segment, layout::Extent stack, std::int64_t spin_ns,
               std::uint32_t connection = 0);
    ClientLane(const ClientLane&) = delete;
    ClientLane& operator=(const ClientLane&) = delete;

    /// Reserves a reply slot, and room on the RPC stack if the frames need it. `lent`, if not nullptr: the lowest byte
    /// in use of the part that code runs on; frames lie below it then, and the server runs the function below these.
    /// Errors: VMRPC_BUSY (half of the slots are held by calls given up, all are in use, or the stack is full of their
    /// frames), VMRPC_FRAME_TOO_LARGE (the frames exceed the whole stack), VMRPC_STACK_OVERFLOW (too little to lend).
    base::Result<Slot> reserve(std::uint32_t request_bytes, std::uint32_t result_bytes,
                               const std::byte* lent = nullptr);

    /// A free slot, for a request whose arguments and results fit into the lines; nothing if there is none.
    std::optional<Slot> reserve_inline() {
        if (free_slots_ == 0) return std::nullopt;
        const auto index = static_cast<std::uint32_t>(__builtin_ctz(free_slots_));
        free_slots_ &= free_slots_ - 1;
        slots_[index].results = nullptr;
        slots_[index].sequence = calls() + 1;
        return Slot{.index = index, .sequence = calls() + 1, .arguments = inline_arguments_.data()};
    }
    [[nodiscard]] bool has_free_slot() const { return free_slots_ != 0; }
    /// Whether reserve() may succeed.
    [[nodiscard]] bool takes_calls() const { return free_slots_ != 0 && abandoned_count() < layout::kReplySlots / 2; }

    /// The same, as short as it can be: the slot's number. Requires has_free_slot().
    std::uint32_t reserve_plain() {
        const auto index = static_cast<std::uint32_t>(__builtin_ctz(free_slots_));
        free_slots_ &= free_slots_ - 1;
        slots_[index].sequence = calls() + 1;
        return index;
    }
    /// Frees a slot whose call had no frame on the RPC stack. By the lane's thread.
    void release_plain(std::uint32_t index) { free_slots_ |= 1U << index; }

    /// Whether no call is on its way, none abandoned either.
    [[nodiscard]] bool is_at_rest() const { return free_slots_ == kAllSlots; }
    /// Where a plain call's arguments are to be written, before post_plain().
    [[nodiscard]] std::byte* plain_arguments() {
        return reinterpret_cast<std::byte*>(next_line().body.inline_arguments.data());
    }
    /// Publishes a plain request, which uses `slot` without marking it. If that was not reserved, is_at_rest() is
    /// required, and until the reply came, or reserve_posted(), the lane must not be used for anything else. Returns
    /// its sequence.
    [[gnu::always_inline]] std::uint64_t post_plain(std::uint32_t function, std::uint64_t sizes,
                                                    std::uint32_t slot = 0) {
        const std::uint64_t posted = calls();
        layout::Request& line = lane_.requests.lines[posted % layout::kRequestRingLines];
        static_assert(offsetof(layout::RequestBody, inline_arguments) == 4 * sizeof(std::uint64_t));
        auto* const words = reinterpret_cast<std::byte*>(&line.body);
        store_word(words, plain_target(function, slot));
        store_word(words + sizeof(std::uint64_t), sizes);
        return publish(line, posted + 1);
    }
    /// For calls in flight at the same time: has a line that will be written soon brought here, far enough ahead that
    /// the server does not look at it yet. Else each post would wait for its line to come back from the server.
    void prepare_line_ahead() const {
        constexpr std::uint64_t kAhead = 4;
        base::prefetch_to_write(&lane_.requests.lines[(calls() + kAhead) % layout::kRequestRingLines]);
    }
    /// Has the reply brought here that comes after this one, if calls are answered and waited for in their order.
    void prepare_reply_after(std::uint32_t index) const {
        base::prefetch(&lane_.replies[(index + 1) % layout::kReplySlots]);
    }
    /// Looks for a plain request's reply, at plain_reply(), for about a microsecond, if this lane spins at all.
    bool replies_soon(const layout::Reply& reply, std::uint64_t sequence) {
        if (spin_.budget_ns() == 0) return false;
        const bool found = notify::is_emulated ? looks_find<256, false>(reply, sequence)  //
                                               : looks_find<64, true>(reply, sequence);
        if (found) spin_.gained();
        return found;
    }
    /// The line of a plain request's reply.
    [[nodiscard]] const layout::Reply& plain_reply() const { return lane_.replies[0]; }
    /// Makes the plain call that was posted an ordinary one, as if its slot had come from reserve().
    Slot reserve_posted() {
        free_slots_ &= ~1U;
        slots_[0].results = nullptr;
        slots_[0].sequence = calls();
        return {.index = 0, .sequence = calls()};
    }

    /// Publishes the request, whose frame has been written to slot.arguments. remaining_ns 0: no time limit. `depth`:
    /// how many calls and calls back it is nested in.
    void post(const Slot& slot, std::uint32_t function, std::uint32_t request_bytes, std::uint32_t result_bytes,
              std::uint64_t remaining_ns, std::uint32_t depth = 0);

    /// The word that becomes slot.sequence when the reply is there.
    [[nodiscard]] const layout::SharedWord<std::uint64_t>& reply_word(const Slot& slot) const {
        return lane_.replies[slot.index].sequence;
    }
    /// Asks whether the reply is there.
    [[nodiscard]] auto answered(const Slot& slot) const {
        // acquire: pairs with the server's release of the reply
        return [&word = reply_word(slot), sequence = slot.sequence] { return word.load_acquire() == sequence; };
    }
    /// A private copy of the reply. Requires that it is there.
    [[nodiscard]] layout::ReplyBody reply(const Slot& slot) const;
    /// A private copy of the error text that came with a reply of that many bytes of text.
    [[nodiscard]] std::string error_text(const Slot& slot, std::uint32_t bytes) const;

    /// The call is over: its slot and frame are free.
    void release(const Slot& slot);
    /// The caller gave up. Slot, frame and `held` stay reserved until the reply comes.
    void abandon(const Slot& slot, Held held);
    /// From the start nobody waits for the reply. The same, but the call is none that was given up.
    void leave_unawaited(const Slot& slot, Held held);
    /// For a one-way call that holds nothing.
    void leave_unawaited_plain(std::uint32_t index) {
        slots_[index].held.is_one_way = true;
        unawaited_ |= 1U << index;
    }
    /// Ends abandoned and unawaited calls whose replies have come: calls `free_block` with each block they held, and
    /// `on_error` with the OneWayError of those that are one-way and failed.
    template <class FreeBlock, class OnError>
    void sweep(FreeBlock&& free_block, OnError&& on_error) {
        for (std::uint32_t left = abandoned_ | unawaited_; left != 0; left &= left - 1) {
            const auto index = static_cast<std::uint32_t>(__builtin_ctz(left));
            if (is_answered(index)) settle(index, free_block, on_error);
        }
    }
    template <class FreeBlock>
    void sweep(FreeBlock&& free_block) {
        sweep(free_block, [](const OneWayError&) {});
    }
    [[nodiscard]] bool has_unawaited() const { return unawaited_ != 0; }
    /// Whether sweep() may have something to do.
    [[nodiscard]] bool has_to_sweep() const { return (abandoned_ | unawaited_) != 0; }
    /// Whether the reply of one of the calls that nobody waits for is there.
    [[nodiscard]] bool can_sweep() const {
        for (std::uint32_t left = abandoned_ | unawaited_; left != 0; left &= left - 1) {
            if (is_answered(static_cast<std::uint32_t>(__builtin_ctz(left)))) return true;
        }
        return false;
    }
    [[nodiscard]] std::uint32_t abandoned_count() const {
        // The common case first: counting bits is a library call on the oldest processors, for which we build.
        return abandoned_ == 0 ? 0 : static_cast<std::uint32_t>(__builtin_popcount(abandoned_));
    }

    [[nodiscard]] notify::SpinBudget& spin() { return spin_; }
    /// The server's polling CPU (ServerState::poller_cpu) as it was when spin() was last judged.
    [[nodiscard]] std::int32_t& judged_cpu() { return judged_cpu_; }
    [[nodiscard]] bool is_judged(std::int32_t poller_cpu) const { return poller_cpu == judged_cpu_; }
    /// Requests posted. A snapshot, from any thread.
    [[nodiscard]] std::uint64_t calls() const { return posted_.load(std::memory_order_relaxed); }
    /// Whether the next call is one to be timed: one in about kCallsPerTimed, at distances that differ, so that no
    /// function is left out where calls of several take turns.
    [[nodiscard]] bool is_sample_due() const { return calls() >= next_sample_; }
    /// This call is the one; the next to be timed is chosen.
    void plan_sample() {
        constexpr std::uint64_t kGoldenRatio = 0x9e37'79b9'7f4a'7c15;  // of 2^64: multiples of it are spread evenly
        next_sample_ = calls() + 1 + kCallsPerTimed / 2 + kGoldenRatio * calls() / (UINT64_MAX / kCallsPerTimed + 1);
    }
    /// The next call, too.
    void sample_next() { next_sample_ = calls(); }
    /// What this lane remembers of the server's ring-me generation.
    [[nodiscard]] std::uint32_t& ring_seen() { return ring_seen_; }

    /// The part of the RPC stack that the thread's code runs on.
    [[nodiscard]] stack::GuardedStack& execution_stack() { return execution_stack_; }

    /// Where the server put a block that nobody waits for; nothing if the reply brought none.
    [[nodiscard]] WireSpan late_block(std::uint32_t index) const;

    // --- asynchronous calls: client_async.cpp. The lane's thread posts them; any thread may end one.

    /// Once, before the first.
    void prepare_pending(ClientConnection& client);
    /// nullptr if the lane has had no such call.
    [[nodiscard]] PendingCalls* pending() const { return pending_.get(); }
    /// Its number in the connection.
    [[nodiscard]] std::uint32_t number() const { return number_; }
    [[nodiscard]] const layout::Reply& reply_line(std::uint32_t index) const { return lane_.replies[index]; }

    /// The thread that posts, as thread_tag() gives it; 0: none.
    void set_owner(std::uint64_t tag) { owner_.store(tag, std::memory_order_relaxed); }
    /// relaxed: a thread finds its own tag only where it has written it itself.
    [[nodiscard]] std::uint64_t owner() const { return owner_.load(std::memory_order_relaxed); }

    /// What other threads than the owner do with a slot; the owner finds it in collect(). `held` is written where only
    /// who ends the call writes. All are release, and pair with the acquire in collect().
    void release_elsewhere(std::uint32_t index) {
        elsewhere_.released.fetch_or(1U << index, std::memory_order_release);
    }
    void abandon_elsewhere(std::uint32_t index, Held held) {
        slots_[index].held = std::move(held);
        elsewhere_.abandoned.fetch_or(1U << index, std::memory_order_release);
    }
    void cancel_elsewhere(std::uint32_t index, std::uint64_t sequence) {
        (*pending_)[index].cancelled.store(sequence, std::memory_order_relaxed);
        elsewhere_.cancels.fetch_or(1U << index, std::memory_order_release);
    }
    /// Takes over what other threads have done, and asks the server to cancel what they want to be cancelled.
    void collect();
    /// Posts the request to cancel the call of that sequence, if a slot is free for it: else the server does what
    /// nobody wants, and that is all. The server may have to be rung.
    void post_cancel(std::uint64_t sequence);
    /// Whether that was done since this was called last.
    [[nodiscard]] bool take_posted_cancel() { return std::exchange(posted_cancel_, false); }

    /// Calls whose callers are to be told. release: what `then` needs comes before; pairs with the acquire in
    /// take_watched().
    void watch(std::uint32_t index) { elsewhere_.watched.fetch_or(1U << index, std::memory_order_release); }
    [[nodiscard]] std::uint32_t watched() const { return elsewhere_.watched.load(std::memory_order_acquire); }
    /// Whether the call was watched: it is now this thread's.
    bool take_watched(std::uint32_t index) {
        return (elsewhere_.watched.fetch_and(~(1U << index), std::memory_order_acq_rel) & 1U << index) != 0;
    }

  private:
    /// Bits by slot, in private memory: several threads change them.
    struct alignas(base::kLineBytes) Elsewhere {
        std::atomic<std::uint32_t> released{0};
        std::atomic<std::uint32_t> abandoned{0};
        std::atomic<std::uint32_t> cancels{0};
        std::atomic<std::uint32_t> watched{0};
    };
    struct SlotState {
        std::uint64_t sequence = 0;
        std::uint64_t frame_begin = 0;  // offset on the stack; the frames' end if it has none there
        const std::byte* results = nullptr;
        Held held;
    };

    template <int kLooks, bool kPause>
    [[gnu::always_inline]] static bool looks_find(const layout::Reply& reply, std::uint64_t sequence) {
        for (int look = 0; look < kLooks; ++look) {
            // acquire: pairs with the server's release of the reply
            if (reply.sequence.load_acquire() == sequence) [[likely]]
                return true;
            if constexpr (kPause) base::cpu_pause();
        }
        return false;
    }
    [[nodiscard]] bool is_answered(std::uint32_t index) const {
        return lane_.replies[index].sequence.load_acquire() == slots_[index].sequence;
    }
    template <class FreeBlock, class OnError>
    void settle(std::uint32_t index, FreeBlock&& free_block, OnError&& on_error) {
        SlotState& state = slots_[index];
        if (state.held.is_one_way) {
            if (const OneWayError error = one_way_error(index); error.status != VMRPC_OK) on_error(error);
        }
        for (void* block : state.held.blocks) free_block(block);
        if (state.held.result_is_block) {
            const WireSpan late = late_block(index);
            if (late.offset != 0) free_block(late.offset);
        }
        state.held = {};
        abandoned_ &= ~(1U << index);
        unawaited_ &= ~(1U << index);
        release_index(index);
    }
    [[nodiscard]] OneWayError one_way_error(std::uint32_t index) const;
    static constexpr std::uint32_t kAllSlots = (1U << layout::kReplySlots) - 1;

    /// Request n lies in line (n - 1) % 64, so the next one, posted() + 1, in line posted() % 64.
    [[nodiscard]] layout::Request& next_line() { return lane_.requests.lines[calls() % layout::kRequestRingLines]; }
    // A probe is a nop, but the compiler takes its text for many instructions: hence always_inline, here and above.
    [[gnu::always_inline]] std::uint64_t publish(layout::Request& line, std::uint64_t sequence) {
        // release: the line, and the caller's data in the heap, before it; pairs with the server's acquire
        line.sequence.store_release(sequence);
        posted_.store(sequence, std::memory_order_relaxed);
        probe_post(connection_, number_, sequence, line.body.function);
        return sequence;
    }
    [[nodiscard]] base::Result<std::uint64_t> place_frame(std::uint64_t bytes) const;
    [[nodiscard]] base::Result<std::uint64_t> place_below(const std::byte* lent, std::uint64_t bytes) const;
    void release_index(std::uint32_t index);

    layout::Lane& lane_;
    std::uint32_t number_;
    std::byte* segment_;
    layout::StackParts stack_;
    stack::GuardedStack execution_stack_;
    notify::SpinBudget spin_;
    std::atomic<std::uint64_t> posted_{0};  // sequence of the last request; one writer; orders nothing
    std::uint32_t free_slots_ = kAllSlots;
    std::uint32_t abandoned_ = 0;
    std::uint32_t unawaited_ = 0;
    bool posted_cancel_ = false;
    std::uint32_t ring_seen_ = 0;
    std::int32_t judged_cpu_ = -1;
    std::atomic<std::uint64_t> owner_{0};
    std::uint32_t connection_;
    std::uint64_t next_sample_ = 0;  // the first request that is to be timed
    OwnPendingCalls pending_;
    Elsewhere elsewhere_;
    std::array<SlotState, layout::kReplySlots> slots_;
    alignas(kFrameAlignment) std::array<std::byte, layout::kInlineArgumentBytes> inline_arguments_{};
};

}  // namespace vmrpc::call
