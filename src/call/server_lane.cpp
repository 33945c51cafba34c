#include "call/server_lane.hpp"

#include "call/function.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace vmrpc::call {
namespace {

tl::unexpected<base::Error> poison(std::string text) {
    return base::fail(VMRPC_POISONED, std::move(text));
}

}  // namespace

bool ServerLane::has_nested() const {
    for (std::uint64_t sequence = next_; sequence < next_ + layout::kReplySlots; ++sequence) {
        const layout::Request& line = lane_->requests.lines[(sequence - 1) % layout::kRequestRingLines];
        // acquire: pairs with the requester's release, so that the body is seen
        if (line.sequence.load_acquire() != sequence) return false;
        layout::RequestBody body;
        layout::copy_from_peer(&body, &line.body, offsetof(layout::RequestBody, frame_bytes));
        if (body.depth != 0 || (sequence == next_ && body.function < layout::kReservedFunctions)) return true;
    }
    return false;
}

base::Result<CheckedRequest> ServerLane::take() {
    CheckedRequest request;
    // acquire: pairs with the requester's release, so that the body and the data it points to are seen
    request.sequence = line_->sequence.load_acquire();
    if (request.sequence != next_)
        return poison(fmt::format("a request has sequence {} where {} is next", request.sequence, next_));
    layout::copy_from_peer(&request.body, &line_->body, sizeof request.body);
    VMRPC_TRY(check(request));
    advance();
    return request;
}

base::Status ServerLane::check(CheckedRequest& request) const {
    const layout::RequestBody& body = request.body;
    const layout::Wild<std::uint32_t> slot{body.slot};
    if (!slot.below(layout::kReplySlots))
        return poison(fmt::format("a request names reply slot {} of {}", slot.untrusted(), layout::kReplySlots));
    if ((slots_in_pool() >> body.slot & 1) != 0)
        return poison(fmt::format("a request names reply slot {}, of a call that was not answered yet", body.slot));
    if ((body.flags & ~(layout::kRequestTimed | layout::kRequestBorrows)) != 0 || body.depth > layout::kMostCallDepth)
        return poison(fmt::format("a request has flags {:#x}, and depth {} of {}", body.flags, body.depth,
                                  layout::kMostCallDepth));
    const layout::Wild<std::uint64_t> frame{std::uint64_t{body.frame_bytes} + body.result_bytes};
    if (!frame.at_most(kMaxFrameBytes))
        return poison(
            fmt::format("a request's frame has {} bytes; at most {} are allowed", frame.untrusted(), kMaxFrameBytes));
    const std::uint64_t arguments_stacked = stacked_request_bytes(body.frame_bytes);
    const std::uint64_t results_stacked = stacked_result_bytes(body.result_bytes);
    const bool lends = (body.flags & layout::kRequestBorrows) != 0;
    if (lends && !borrows_)
        return poison("a request lends its RPC stack, on a connection without borrow_stack of both sides");
    if (arguments_stacked + results_stacked == 0 && !lends) return {};
    const auto place = layout::tame(segment_, lends ? stack_.execution : stack_.frames, layout::Wild(body.frame_offset),
                                    layout::Wild(arguments_stacked + results_stacked), 1, kFrameAlignment);
    if (!place)
        return poison(fmt::format(
            "a request's frame of {} bytes at offset {:#x} does not lie in the part of its lane's RPC stack where it "
            "may",
            arguments_stacked + results_stacked, body.frame_offset));
    if (lends) request.lent_stack = *place;
    if (arguments_stacked != 0) request.stacked_arguments = *place;
    if (results_stacked != 0) request.stacked_results = *place + arguments_stacked;
    return {};
}

void ServerLane::reply(const CheckedRequest& request, const std::byte* results, std::uint32_t result_bytes) {
    layout::Reply& line = lane_->replies[request.body.slot];
    std::byte* to = request.stacked_results != nullptr ? request.stacked_results
                                                       : reinterpret_cast<std::byte*>(line.body.inline_result.data());
    if (result_bytes != 0) std::memcpy(to, results, result_bytes);
    publish({request.body.slot, request.body.function, request.sequence}, VMRPC_OK, result_bytes);
}

void ServerLane::reply_error(const CheckedRequest& request, vmrpc_status status, std::string_view text) {
    publish_error({request.body.slot, request.body.function, request.sequence}, status, text);
}

void ServerLane::reply_error(std::uint32_t slot, std::uint32_t function, vmrpc_status status, std::string_view text) {
    publish_error({slot, function, next_}, status, text);
    advance();
}

void ServerLane::publish_error(const Answered& request, vmrpc_status status, std::string_view text) {
    const auto bytes = text.copy(lane_->error_texts[request.slot].data(), layout::kErrorTextBytes);
    publish(request, status, static_cast<std::uint32_t>(bytes));
}

// Few stores, and no more of the line than the reply needs: the client is looking at it.
void ServerLane::publish(const Answered& request, vmrpc_status status, std::uint32_t bytes) {
    layout::Reply& line = lane_->replies[request.slot];
    line.body.status = static_cast<std::uint32_t>(status);
    line.body.result_bytes = bytes;
    // release: results, in the line, the frame and the heap, before it; pairs with the requester's acquire
    line.sequence.store_release(request.sequence);
    probe_reply(connection_, number_, request.sequence, request.function, static_cast<std::uint32_t>(status));
}

}  // namespace vmrpc::call
