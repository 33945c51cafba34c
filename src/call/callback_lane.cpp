#include "call/callback_lane.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace vmrpc::call {
namespace {

tl::unexpected<base::Error> broken(std::string text) {
    return base::fail(VMRPC_POISONED, std::move(text));
}

}  // namespace

std::optional<std::uint32_t> CallbackRequests::reserve() {
    if (free_slots_ == 0) return std::nullopt;
    const auto slot = static_cast<std::uint32_t>(__builtin_ctz(free_slots_));
    free_slots_ &= free_slots_ - 1;
    return slot;
}

std::uint64_t CallbackRequests::post(std::uint32_t slot, const layout::RequestBody& body) {
    layout::Request& line = lane_.callback_requests.lines[posted_++ % layout::kRequestRingLines];
    std::memcpy(&line.body, &body, sizeof body);
    line.body.slot = static_cast<std::uint8_t>(slot);
    // release: the line, and the data that its arguments mean, before it; pairs with the client's acquire
    line.sequence.store_release(posted_);
    return posted_;
}

layout::ReplyBody CallbackRequests::reply(std::uint32_t slot) const {
    layout::ReplyBody copy;
    layout::copy_from_peer(&copy, &lane_.callback_replies[slot].body, sizeof copy);
    return copy;
}

std::string CallbackRequests::error_text(std::uint32_t slot, std::uint32_t bytes) const {
    std::string text(std::min<std::size_t>(bytes, layout::kErrorTextBytes), '\0');
    layout::copy_from_peer(text.data(), lane_.callback_error_texts[slot].data(), text.size());
    return text;
}

void CallbackRequests::abandon(std::uint32_t slot, std::uint64_t sequence, Held held) {
    abandoned_calls_[slot] = {sequence, std::move(held)};
    abandoned_ |= 1U << slot;
}

layout::WireOffset CallbackRequests::late_block(std::uint32_t slot, const std::byte* results) const {
    const layout::ReplyBody answer = reply(slot);
    WireSpan block{};
    if (answer.status != VMRPC_OK || answer.result_bytes < sizeof block) return 0;
    layout::copy_from_peer(&block, results != nullptr ? static_cast<const void*>(results) : answer.inline_result.data(),
                           sizeof block);
    return block.offset;
}

base::Result<CheckedRequest> CallbackReplies::take() {
    const std::uint64_t next = next_.load(std::memory_order_relaxed);  // under the mutex
    CheckedRequest request;
    request.sequence = next;
    layout::copy_from_peer(&request.body, &line_of(next).body, sizeof request.body);
    VMRPC_TRY(check(request));
    next_.store(next + 1, std::memory_order_relaxed);
    return request;
}

base::Status CallbackReplies::check(CheckedRequest& request) const {
    const layout::RequestBody& body = request.body;
    if (body.slot >= layout::kReplySlots || (body.flags & ~layout::kRequestTimed) != 0 || body.depth == 0 ||
        body.depth > layout::kMostCallDepth)
        return broken(fmt::format("a call back names reply slot {} of {}, flags {:#x} and depth {}", body.slot,
                                  layout::kReplySlots, body.flags, body.depth));
    const std::uint64_t arguments_bytes = stacked_request_bytes(body.frame_bytes);
    const std::uint64_t results_bytes = stacked_result_bytes(body.result_bytes);
    if (std::uint64_t{body.frame_bytes} + body.result_bytes > kMaxFrameBytes)
        return broken(fmt::format("a call back's frame has {} and {} bytes; at most {} are allowed", body.frame_bytes,
                                  body.result_bytes, kMaxFrameBytes));
    if (arguments_bytes + results_bytes == 0) return {};
    const auto place = layout::tame(segment_, frames_, layout::Wild(body.frame_offset),
                                    layout::Wild(arguments_bytes + results_bytes), 1, kFrameAlignment);
    if (!place)
        return broken(
            fmt::format("a call back's frame of {} bytes at offset {:#x} does not lie in the server's half "
                        "of the heap",
                        arguments_bytes + results_bytes, body.frame_offset));
    if (arguments_bytes != 0) request.stacked_arguments = *place;
    if (results_bytes != 0) request.stacked_results = *place + arguments_bytes;
    return {};
}

void CallbackReplies::reply(const CheckedRequest& request, const std::byte* results, std::uint32_t result_bytes) {
    layout::Reply& line = lane_.callback_replies[request.body.slot];
    std::byte* const to = request.stacked_results != nullptr
                              ? request.stacked_results
                              : reinterpret_cast<std::byte*>(line.body.inline_result.data());
    if (result_bytes != 0) std::memcpy(to, results, result_bytes);
    publish(request, VMRPC_OK, result_bytes);
}

void CallbackReplies::reply_error(const CheckedRequest& request, vmrpc_status status, std::string_view text) {
    const auto bytes =
        text.copy(lane_.callback_error_texts[request.body.slot].data(), lane_.callback_error_texts[0].size());
    publish(request, status, static_cast<std::uint32_t>(bytes));
}

void CallbackReplies::publish(const CheckedRequest& request, vmrpc_status status, std::uint32_t bytes) {
    layout::Reply& line = lane_.callback_replies[request.body.slot];
    line.body.status = static_cast<std::uint32_t>(status);
    line.body.result_bytes = bytes;
    // release: results, in the line, the frame and the heap, before it; pairs with the server's acquire
    line.sequence.store_release(request.sequence);
}

}  // namespace vmrpc::call
