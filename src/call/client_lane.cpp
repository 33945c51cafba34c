#include "call/client_lane.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace vmrpc::call {
ClientLane::ClientLane(layout::Lane& lane, std::uint32_t number, std::byte* segment, layout::Extent stack,
                       std::int64_t spin_ns, std::uint32_t connection)
    : lane_(lane),
      number_(number),
      segment_(segment),
      stack_(layout::parts_of_stack(stack)),
      execution_stack_(segment, stack_),
      spin_(spin_ns),
      connection_(connection) {
    for (SlotState& slot : slots_) slot.frame_begin = stack_.frames.end();
}

base::Result<Slot> ClientLane::reserve(std::uint32_t request_bytes, std::uint32_t result_bytes, const std::byte* lent) {
    if (free_slots_ == 0 || abandoned_count() >= layout::kReplySlots / 2)
        return base::fail(VMRPC_BUSY,
                          fmt::format("{} calls that were given up are still running in the server, of the {} that a "
                                      "lane carries: retry when it has answered some",
                                      abandoned_count(), layout::kReplySlots));
    Slot slot;
    slot.index = static_cast<std::uint32_t>(__builtin_ctz(free_slots_));
    slot.arguments = inline_arguments_.data();
    const std::uint64_t request_on_stack = stacked_request_bytes(request_bytes);
    const std::uint64_t on_stack = request_on_stack + stacked_result_bytes(result_bytes);
    SlotState& state = slots_[slot.index];
    if (on_stack != 0 || lent != nullptr) {
        auto frame = lent != nullptr ? place_below(lent, on_stack) : place_frame(on_stack);
        VMRPC_TRY(frame);
        state.frame_begin = *frame;
        if (request_on_stack != 0) slot.arguments = segment_ + *frame;
        if (on_stack != request_on_stack) slot.results = segment_ + *frame + request_on_stack;
    }
    state.results = slot.results;
    slot.is_lent = lent != nullptr;
    slot.sequence = state.sequence = calls() + 1;
    free_slots_ &= ~(1U << slot.index);
    return slot;
}

// The stack grows down; the lowest frame in use bounds it.
base::Result<std::uint64_t> ClientLane::place_frame(std::uint64_t bytes) const {
    if (bytes > stack_.frames.bytes)
        return base::fail(
            VMRPC_FRAME_TOO_LARGE,
            fmt::format("a frame of {} bytes; the RPC stack has room for {}: pass large values as spans from the heap",
                        bytes, stack_.frames.bytes));
    std::uint64_t lowest = stack_.frames.end();
    for (const SlotState& slot : slots_) lowest = std::min(lowest, slot.frame_begin);
    if (lowest - stack_.frames.offset < bytes)
        return base::fail(VMRPC_BUSY,
                          fmt::format("the RPC stack is full of frames of calls in flight, {} of them given up: "
                                      "retry when the server has answered some",
                                      abandoned_count()));
    return lowest - bytes;
}

// At the caller's frame: what is above it is in use, all below it is lent.
base::Result<std::uint64_t> ClientLane::place_below(const std::byte* lent, std::uint64_t bytes) const {
    const auto used = static_cast<std::uint64_t>(lent - segment_) / kFrameAlignment * kFrameAlignment;
    if (const std::uint64_t left = used - stack_.execution.offset; left < bytes + kMinLentBytes)
        return base::fail(VMRPC_STACK_OVERFLOW,
                          fmt::format("{} bytes are left on the RPC stack; to be lent to the server there must be {} "
                                      "beside the frame's {}: build large objects in the heap",
                                      left, kMinLentBytes, bytes));
    return used - bytes;
}

void ClientLane::post(const Slot& slot, std::uint32_t function, std::uint32_t request_bytes, std::uint32_t result_bytes,
                      std::uint64_t remaining_ns, std::uint32_t depth) {
    layout::Request& line = next_line();
    const std::uint64_t frame_begin = slots_[slot.index].frame_begin;
    const layout::RequestBody body{.function = function,
                                   .flags = static_cast<std::uint16_t>((remaining_ns == 0 ? 0 : layout::kRequestTimed) |
                                                                       (slot.is_lent ? layout::kRequestBorrows : 0)),
                                   .slot = static_cast<std::uint8_t>(slot.index),
                                   .depth = static_cast<std::uint8_t>(depth),
                                   .frame_bytes = request_bytes,
                                   .result_bytes = result_bytes,
                                   .frame_offset = frame_begin == stack_.frames.end() ? 0 : frame_begin,
                                   .remaining_ns = remaining_ns,
                                   .inline_arguments = {}};
    // In few wide stores, and no more of the line than the request needs: the server is looking at it, and can take it
    // away between any two of them.
    constexpr std::size_t kHeadBytes = offsetof(layout::RequestBody, inline_arguments);
    std::memcpy(&line.body, &body, kHeadBytes);
    if (request_bytes <= layout::kInlineArgumentBytes)
        std::memcpy(line.body.inline_arguments.data(), inline_arguments_.data(), request_bytes);
    publish(line, calls() + 1);
}

layout::ReplyBody ClientLane::reply(const Slot& slot) const {
    layout::ReplyBody copy;
    layout::copy_from_peer(&copy, &lane_.replies[slot.index].body, sizeof copy);
    return copy;
}

std::string ClientLane::error_text(const Slot& slot, std::uint32_t bytes) const {
    std::string text(std::min<std::size_t>(bytes, layout::kErrorTextBytes), '\0');
    layout::copy_from_peer(text.data(), lane_.error_texts[slot.index].data(), text.size());
    return text;
}

WireSpan ClientLane::late_block(std::uint32_t index) const {
    layout::ReplyBody copy;
    layout::copy_from_peer(&copy, &lane_.replies[index].body, sizeof copy);
    WireSpan block{};
    const std::byte* stacked = slots_[index].results;
    if (copy.status != VMRPC_OK || copy.result_bytes < sizeof block) return block;
    layout::copy_from_peer(&block, stacked != nullptr ? static_cast<const void*>(stacked) : copy.inline_result.data(),
                           sizeof block);
    return block;
}

void ClientLane::release(const Slot& slot) {
    release_index(slot.index);
}

void ClientLane::release_index(std::uint32_t index) {
    slots_[index].frame_begin = stack_.frames.end();
    free_slots_ |= 1U << index;
}

void ClientLane::leave_unawaited(const Slot& slot, Held held) {
    slots_[slot.index].held = std::move(held);
    unawaited_ |= 1U << slot.index;
}

OneWayError ClientLane::one_way_error(std::uint32_t index) const {
    const Slot slot{.index = index};
    const layout::ReplyBody answer = reply(slot);
    const std::uint64_t sequence = slots_[index].sequence;
    if (answer.status == VMRPC_OK) return {sequence, VMRPC_OK, {}};
    return {sequence, answer.status, error_text(slot, answer.result_bytes)};
}

void ClientLane::prepare_pending(ClientConnection& client) {
    if (pending_ != nullptr) return;
    pending_ = take_pending_calls();
    for (std::uint32_t i = 0; i < pending_->size(); ++i) {
        PendingCall& call = (*pending_)[i];
        call.slot = i;
        call.client = &client;
        call.lane = this;
    }
}

void ClientLane::collect() {
    for (std::uint32_t left = elsewhere_.released.exchange(0, std::memory_order_acquire); left != 0; left &= left - 1)
        release_index(static_cast<std::uint32_t>(__builtin_ctz(left)));
    abandoned_ |= elsewhere_.abandoned.exchange(0, std::memory_order_acquire);
    // The slot may be another call's by now.
    for (std::uint32_t left = elsewhere_.cancels.exchange(0, std::memory_order_acquire); left != 0; left &= left - 1) {
        const auto index = static_cast<std::size_t>(__builtin_ctz(left));
        const std::uint64_t sequence = (*pending_)[index].cancelled.load(std::memory_order_relaxed);
        if (sequence == slots_[index].sequence) post_cancel(sequence);
    }
}

void ClientLane::post_cancel(std::uint64_t sequence) {
    const auto slot = reserve_inline();
    if (!slot) return;
    std::memcpy(slot->arguments, &sequence, sizeof sequence);
    post(*slot, static_cast<std::uint32_t>(layout::ReservedFunction::kCancel), sizeof sequence, 0, 0);
    leave_unawaited(*slot, {});
    posted_cancel_ = true;
}

void ClientLane::abandon(const Slot& slot, Held held) {
    slots_[slot.index].held = std::move(held);
    abandoned_ |= 1U << slot.index;
}

}  // namespace vmrpc::call
