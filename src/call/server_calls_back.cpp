// Functions of the client's that functions of the server call: what a connection does for it.
#include "call/server_connection.hpp"

#include <algorithm>

namespace vmrpc::call {

base::Status ServerConnection::call_back(const Registered& function, std::int64_t limit_ns, void* const* arguments,
                                         void* result) {
    CallsToClient* calls = calls_to_client();
    if (calls == nullptr) {
        const std::scoped_lock lock(calls_to_client_mutex_);
        calls = calls_to_client();
        if (calls == nullptr) {
            calls = new CallsToClient(*this);
            // release: pairs with the acquire in calls_to_client()
            calls_to_client_.store(calls, std::memory_order_release);
        }
    }
    return calls->call(function, limit_ns, arguments, result);
}

bool ServerConnection::has_nested() {
    const std::uint32_t count = lanes_in_use();
    return std::any_of(lanes_.begin(), lanes_.begin() + count,
                       [](const ServerLane& lane) { return lane.has_nested(); });
}

std::uint32_t ServerConnection::serve_nested() {
    if (!has_nested()) return 0;
    std::unique_ptr<ServerFrame> frame = serving_->take_frame();
    RunningCall nested(this);
    RunningCall* const outer = std::exchange(here_, &nested);
    std::uint32_t found = 0;
    const std::uint32_t count = lanes_in_use();
    for (std::uint32_t i = 0; i < count; ++i) {
        ServerLane& lane = lanes_[i];
        for (std::uint32_t taken = 0; taken < kRequestsPerLane && lane.has_nested(); ++taken) {
            if (!serve_any(lane, serving_->functions(), *frame, false)) break;
            ring_if_asleep(lane);
            ++found;
        }
    }
    here_ = outer;
    serving_->give_back(std::move(frame));
    if (found != 0) take_frees();
    if (CallsToClient* const calls = calls_to_client()) calls->wake_answered();
    return found;
}

/// The answer to a plain call whose request was taken off its lane while it ran.
void ServerConnection::answer_early(ServerLane& lane, std::uint32_t slot, const FunctionTable::Entry& entry,
                                    ServerFrame& frame, vmrpc_status status) {
    const ServerLane::Answered request{slot, entry.index, here_->lane_sequence};
    if (status == VMRPC_OK) {
        frame.put_values(*entry.function, lane.plain_results(slot));
        lane.reply_plain_early(request, entry.sizes);
    } else {
        lane.reply_error_early(request, status, here_->failure);
    }
    here_->forget_cancel();  // which came while it waited for the client
    count(entry, status, nullptr);
}

/// Whether a request is part of a call that is served already: it comes from a function that the client was asked to
/// run. Depth is the client's word, and counts only while it was.
bool ServerConnection::belongs_to_running(const CheckedRequest& request) const {
    const CallsToClient* const calls = calls_to_client();
    return request.body.depth != 0 && calls != nullptr && calls->are_in_flight();
}

bool ServerConnection::may_own(const void* block) const {
    const auto* const own = segment() + plan().arena_offset(layout::Side::kServer);
    return trusted() || block < own || block >= own + plan().arena_bytes;
}

}  // namespace vmrpc::call
