#include "call/remote_pages.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <tuple>
#include <utility>

namespace vmrpc::call {

void RemotePages::attach(Endpoint& endpoint, notify::Waiters& waiters, std::int64_t spin_ns) {
    endpoint_ = &endpoint;
    waiters_ = &waiters;
    const layout::RegionPlan& plan = endpoint.plan();
    lane_ = std::make_unique<ClientLane>(endpoint.lane(kLane), kLane, endpoint.segment(),
                                         layout::Extent{plan.stack_offset(kLane), plan.stack_bytes}, spin_ns,
                                         plan.connection);
    // The server reads it relaxed in each round; a request on the lane orders itself.
    endpoint.control().client.lanes_in_use.store_relaxed(kLane + 1);
}

base::Status RemotePages::commit(layout::Extent range) {
    const std::lock_guard lock(mutex_);
    while (range.bytes != 0) {
        const layout::Extent part{range.offset, std::min(range.bytes, kMostPagesBytes)};
        VMRPC_TRY(ask(layout::ReservedFunction::kCommit, part));
        range = {part.end(), range.bytes - part.bytes};
    }
    return {};
}

bool RemotePages::give_back(layout::Extent range, Wait wait) noexcept {
    std::unique_lock lock(mutex_, std::defer_lock);
    if (wait == Wait::kYes)
        lock.lock();
    else if (!lock.try_lock())
        return false;
    try {
        for (bool is_taken = true; range.bytes != 0;) {
            const layout::Extent part{range.offset, std::min(range.bytes, kMostPagesBytes)};
            if (wait == Wait::kYes)
                std::ignore = ask(layout::ReservedFunction::kTrim, part);  // if it fails, all the memory goes
            else
                is_taken = post_trim(part);
            if (!is_taken) return false;
            range = {part.end(), range.bytes - part.bytes};
        }
        return true;
    } catch (const std::exception&) {  // no memory for an error's text
        return false;
    }
}

/// Does not wait for the reply, which a later request finds. False: too many have not been answered.
bool RemotePages::post_trim(layout::Extent range) {
    lane_->sweep([](auto) {});
    if (lane_->abandoned_count() >= kMostOutstanding) return false;
    if (const auto slot = post(layout::ReservedFunction::kTrim, range)) lane_->abandon(*slot, {});
    return true;
}

base::Status RemotePages::ask(layout::ReservedFunction function, layout::Extent range) {
    const auto slot = post(function, range);
    if (!slot) return tl::unexpected<base::Error>(slot.error());
    if (!await(*slot)) {
        lane_->abandon(*slot, {});
        VMRPC_TRY(endpoint_->usable());
        return base::fail(VMRPC_PEER_LOST, "the server has not set memory aside: the connection is over");
    }
    base::Status status = take_reply(*slot);
    lane_->release(*slot);
    return status;
}

base::Result<Slot> RemotePages::post(layout::ReservedFunction function, layout::Extent range) {
    VMRPC_TRY(endpoint_->usable());
    lane_->sweep([](auto) {});
    auto slot = lane_->reserve(sizeof(PagesRequest), 0);
    if (!slot) return slot;
    const PagesRequest request{range.offset, range.bytes};
    static_assert(sizeof request <= layout::kInlineArgumentBytes);
    std::memcpy(slot->arguments, &request, sizeof request);
    lane_->post(*slot, static_cast<std::uint32_t>(function), sizeof request, 0, 0);
    if (must_ring(endpoint_->control().ring_me[index_of(layout::Side::kServer)], lane_->ring_seen()))
        endpoint_->ring_peer();
    return slot;
}

bool RemotePages::await(const Slot& slot) {
    const auto& word = lane_->reply_word(slot);
    // acquire: pairs with the server's release of the reply
    const auto ready = [&] { return word.load_acquire() == slot.sequence; };
    if (notify::spin(lane_->spin(), {}, [&] { return ready() || endpoint_->is_over(); })) return ready();
    notify::Waiter waiter(ready);
    return waiters_->wait(waiter, {});
}

base::Status RemotePages::take_reply(const Slot& slot) {
    const layout::ReplyBody reply = lane_->reply(slot);
    if (reply.status == VMRPC_OK && reply.result_bytes == 0) return {};
    if (reply.status != VMRPC_OK && reply.status <= kLastStatus)
        return base::fail(static_cast<vmrpc_status>(reply.status), lane_->error_text(slot, reply.result_bytes));
    base::Error error{VMRPC_POISONED,
                      fmt::format("the server answered a request for memory with status {} and {} bytes of results: "
                                  "cannot be",
                                  reply.status, reply.result_bytes)};
    endpoint_->end(error);
    return tl::unexpected<base::Error>(std::move(error));
}

}  // namespace vmrpc::call
