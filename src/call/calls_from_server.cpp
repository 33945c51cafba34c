#include "call/calls_from_server.hpp"

#include "call/client_connection.hpp"
#include "call/run_function.hpp"

#include <fmt/format.h>

#include <cstring>
#include <utility>

namespace vmrpc::call {

using base::Status;

CallsFromServer::~CallsFromServer() {
    for (auto& lane : lanes_) delete lane.load(std::memory_order_relaxed);
}

Status CallsFromServer::add(const FunctionTable::Entry& entry) {
    const std::scoped_lock lock(functions_mutex_);
    return functions_.add(entry);
}

Status CallsFromServer::add_once(const FunctionTable::Entry& entry) {
    const std::scoped_lock lock(functions_mutex_);
    if (functions_.has(*entry.function)) return {};
    return functions_.add(entry);
}

bool CallsFromServer::pending(std::uint64_t lanes) const {
    // relaxed: the server stores it before a request, whose sequence it releases. Who sees neither is rung, or looks
    // again.
    if (client_.control().server.calls_back.load_relaxed() == 0) [[likely]]
        return false;
    for (std::uint64_t left = lanes; left != 0; left &= left - 1) {
        if (is_pending(static_cast<std::uint32_t>(__builtin_ctzll(left)))) return true;
    }
    return false;
}

bool CallsFromServer::is_pending(std::uint32_t number) const {
    const ServedLane* const lane = lanes_[number].load(std::memory_order_acquire);
    if (lane != nullptr) return lane->replies.pending();
    // acquire: as CallbackReplies::pending()
    return client_.lane(number).callback_requests.lines[0].sequence.load_acquire() == 1;
}

CallsFromServer::ServedLane& CallsFromServer::served(std::uint32_t number) {
    if (ServedLane* const lane = lanes_[number].load(std::memory_order_acquire); lane != nullptr) return *lane;
    const std::scoped_lock lock(mutex_);
    ServedLane* lane = lanes_[number].load(std::memory_order_relaxed);
    if (lane != nullptr) return *lane;
    const layout::RegionPlan& plan = client_.plan();
    const layout::Extent arena{plan.arena_offset(layout::Side::kServer), plan.arena_bytes};
    lane = new ServedLane(client_.lane(number), client_.segment(), arena);
    lanes_[number].store(lane, std::memory_order_release);
    return *lane;
}

CallsFromServer::Served CallsFromServer::serve(std::uint64_t lanes) {
    for (std::uint64_t left = lanes; left != 0; left &= left - 1) {
        const auto number = static_cast<std::uint32_t>(__builtin_ctzll(left));
        if (!is_pending(number)) continue;
        if (const Served one = serve_one(served(number)); one != Served::kNothing) return one;
    }
    return Served::kNothing;
}

CallsFromServer::Served CallsFromServer::serve_one(ServedLane& lane) {
    base::Result<CheckedRequest> request;
    {
        const std::scoped_lock lock(lane.mutex);
        if (!lane.replies.pending()) return Served::kNothing;  // another thread took it
        request = lane.replies.take();
    }
    if (!request) {
        client_.end_for_violation(request.error());
        return Served::kOwn;
    }
    execute(lane, *request);
    client_.ring_from_any_thread();
    return request->body.function < layout::kReservedFunctions ? Served::kOwn : Served::kUsers;
}

void CallsFromServer::execute(ServedLane& lane, const CheckedRequest& request) {
    FunctionTable::Entry entry;
    std::shared_lock lock(functions_mutex_);
    const auto found = functions_.find(request.body);
    if (!found) return lane.replies.reply_error(request, found.error().status, found.error().text);
    entry = **found;
    if (request.body.function >= layout::kReservedFunctions) lock.unlock();  // the library's own look at the table
    std::unique_ptr<ServerFrame> frame = take_frame();
    if (const Status done = run(request, entry, *frame); done)
        lane.replies.reply(request, frame->results(), request.body.result_bytes);
    else
        lane.replies.reply_error(request, done.error().status, done.error().text);
    const std::scoped_lock frames(mutex_);
    spare_frames_.push_back(std::move(frame));
}

Status CallsFromServer::run(const CheckedRequest& request, const FunctionTable::Entry& entry, ServerFrame& frame) {
    const layout::RequestBody& body = request.body;
    if (request.stacked_arguments != nullptr)
        layout::copy_from_peer(frame.request(), request.stacked_arguments, body.frame_bytes);
    else
        std::memcpy(frame.request(), body.inline_arguments.data(), body.inline_arguments.size());
    VMRPC_TRY(frame.decode(client_, *entry.function));
    RunningCall call(&client_);
    call.depth = body.depth;
    call.deadline = request.deadline();
    if (const vmrpc_status status = run_function(call, entry, frame.arguments(), frame.result()); status != VMRPC_OK)
        return base::fail(status, std::move(call.failure));
    return frame.encode_results(client_, *entry.function);
}

std::unique_ptr<ServerFrame> CallsFromServer::take_frame() {
    const std::scoped_lock lock(mutex_);
    if (spare_frames_.empty()) return std::make_unique_for_overwrite<ServerFrame>();
    std::unique_ptr<ServerFrame> frame = std::move(spare_frames_.back());
    spare_frames_.pop_back();
    return frame;
}

std::uint64_t CallsFromServer::lend(void* object) {
    const std::scoped_lock lock(mutex_);
    lent_.emplace(next_lent_, Lent{object});
    return next_lent_++;
}

void CallsFromServer::take_back(std::uint64_t number) {
    std::unique_lock lock(mutex_);
    const auto found = lent_.find(number);
    if (found == lent_.end()) return;
    lent_is_free_.wait(lock, [&] { return found->second.users == 0; });
    lent_.erase(found);
}

void* CallsFromServer::use_lent(std::uint64_t number) {
    const std::scoped_lock lock(mutex_);
    const auto found = lent_.find(number);
    if (found == lent_.end()) return nullptr;
    ++found->second.users;
    return found->second.object;
}

void CallsFromServer::done_with(std::uint64_t number) {
    const std::scoped_lock lock(mutex_);
    if (--lent_.at(number).users == 0) lent_is_free_.notify_all();
}

}  // namespace vmrpc::call
