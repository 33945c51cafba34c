// The callback half of a lane: requests of the server's to its client, and the client's replies.
#pragma once

#include "base/result.hpp"
#include "call/function.hpp"
#include "call/server_lane.hpp"
#include "layout/lane.hpp"
#include "layout/wild.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vmrpc::call {

/// The server's end: posts requests, reads replies. Private state; under a mutex of its user's, but for what is said to
/// be any thread's.
class CallbackRequests {
  public:
    /// What a call back holds until the client will never write to it again.
    struct Held {
        std::vector<void*> blocks;     // its frame, and copies made for it, in this side's arena
        bool result_is_block = false;  // a late reply brings a block that nobody wants
        const std::byte* results = nullptr;
    };

    explicit CallbackRequests(layout::Lane& lane) : lane_(lane) {}

    /// A free reply slot; nothing if there is none.
    std::optional<std::uint32_t> reserve();
    /// Publishes a request that uses that slot, and returns its sequence. The frame, if it has one, is written.
    std::uint64_t post(std::uint32_t slot, const layout::RequestBody& body);
    /// Whether the reply is there. Any thread.
    [[nodiscard]] bool is_answered(std::uint32_t slot, std::uint64_t sequence) const {
        // acquire: pairs with the client's release of the reply
        return lane_.callback_replies[slot].sequence.load_acquire() == sequence;
    }
    /// Private copies of a reply that is there, and of its text. Any thread.
    [[nodiscard]] layout::ReplyBody reply(std::uint32_t slot) const;
    [[nodiscard]] std::string error_text(std::uint32_t slot, std::uint32_t bytes) const;
    void release(std::uint32_t slot) { free_slots_ |= 1U << slot; }
    /// Nobody waits for the reply any more; slot and blocks stay until it comes.
    void abandon(std::uint32_t slot, std::uint64_t sequence, Held held);
    /// Ends abandoned calls whose replies have come, and calls free_block with what they held: blocks by address, and
    /// what late replies brought by offset.
    template <class FreeBlock>
    void sweep(FreeBlock&& free_block) {
        for (std::uint32_t left = abandoned_; left != 0; left &= left - 1) {
            const auto slot = static_cast<std::uint32_t>(__builtin_ctz(left));
            Abandoned& call = abandoned_calls_[slot];
            if (!is_answered(slot, call.sequence)) continue;
            if (call.held.result_is_block) free_block(late_block(slot, call.held.results));
            for (void* const block : call.held.blocks) free_block(block);
            call.held = {};
            abandoned_ &= ~(1U << slot);
            release(slot);
        }
    }

  private:
    struct Abandoned {
        std::uint64_t sequence = 0;
        Held held;
    };
    [[nodiscard]] layout::WireOffset late_block(std::uint32_t slot, const std::byte* results) const;

    layout::Lane& lane_;
    std::uint64_t posted_ = 0;
    std::uint32_t free_slots_ = (1U << layout::kReplySlots) - 1;
    std::uint32_t abandoned_ = 0;
    std::array<Abandoned, layout::kReplySlots> abandoned_calls_;
};

/// The client's end: takes requests, writes replies. Any thread, but take() under a mutex of its user's.
class CallbackReplies {
  public:
    CallbackReplies(layout::Lane& lane, std::byte* segment, layout::Extent frames)
        : lane_(lane), segment_(segment), frames_(frames) {}

    /// Whether the next request is there.
    [[nodiscard]] bool pending() const {
        // relaxed: another thread that takes it at this moment finds it out again in take()
        const std::uint64_t next = next_.load(std::memory_order_relaxed);
        // acquire: pairs with the server's release, so that the body and the data it points to are seen
        return line_of(next).sequence.load_acquire() == next;
    }
    /// Takes the next request; requires that it is pending().
    /// Errors: VMRPC_POISONED with the value that broke the protocol.
    base::Result<CheckedRequest> take();
    /// Answers it.
    void reply(const CheckedRequest& request, const std::byte* results, std::uint32_t result_bytes);
    void reply_error(const CheckedRequest& request, vmrpc_status status, std::string_view text);

  private:
    [[nodiscard]] const layout::Request& line_of(std::uint64_t sequence) const {
        return lane_.callback_requests.lines[(sequence - 1) % layout::kRequestRingLines];
    }
    [[nodiscard]] base::Status check(CheckedRequest& request) const;
    void publish(const CheckedRequest& request, vmrpc_status status, std::uint32_t bytes);

    layout::Lane& lane_;
    std::byte* segment_;
    layout::Extent frames_;               // where frames may lie that are not inline
    std::atomic<std::uint64_t> next_{1};  // sequence
};

}  // namespace vmrpc::call
