// Calls that are posted now and answered later.
#include "base/log.hpp"
#include "call/client_connection.hpp"
#include "call/client_wait.hpp"
#include "notify/fork_guard.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

namespace vmrpc::call {

using base::Deadline;
using base::Status;

// What lies on an RPC stack goes when the function that has it returns, which a call in flight does not wait for.
Status ClientConnection::check_places(const Function& function, void* const* arguments) const {
    if (function.is_plain() || !arguments_reach_stack(*this, function, arguments)) return {};
    return base::fail(VMRPC_BAD_ARGUMENT,
                      fmt::format("an argument of {} lies on an RPC stack, where it may be gone before an asynchronous "
                                  "call is answered: put it into the heap, or call synchronously",
                                  function.name()));
}

Status ClientConnection::start(const Registered& function, std::int64_t limit_ns, void* const* arguments,
                               vmrpc_token& token) {
    VMRPC_TRY(usable_here());
    VMRPC_TRY(usable());
    const Deadline deadline = Deadline::in(limit_ns);
    VMRPC_TRY(check_places(*function.function, arguments));
    const auto depth = depth_here();
    VMRPC_TRY(depth);
    const auto index = server_index(function, deadline);
    VMRPC_TRY(index);
    ClientLane* const lane = lanes_->async_lane(*this);
    if (lane == nullptr)
        return base::fail(
            VMRPC_BUSY, fmt::format("no reply slot is free for {}: the connection has {} lanes of {} slots, of which "
                                    "each thread that calls takes one, and one is shared; take some answers, or raise "
                                    "max_lanes",
                                    function.function->name(), plan().lane_count, layout::kReplySlots));
    return start_on(*lane, function, *index, *depth, deadline, arguments, token);
}

Status ClientConnection::start_on(ClientLane& lane, const Registered& function, std::uint32_t index,
                                  std::uint32_t depth, Deadline deadline, void* const* arguments, vmrpc_token& token) {
    const Function& called = *function.function;
    if (has_remote_frees()) VMRPC_TRY(drain());
    std::unique_ptr<CopiesIn> copies = called.is_plain() ? nullptr : std::make_unique<CopiesIn>(*this);
    if (lane.has_to_sweep()) sweep(lane);
    const auto slot = lane.reserve(called.request_bytes(), called.result_bytes());
    if (!slot) return tl::unexpected<base::Error>(slot.error());
    if (auto encoded = encode_arguments(*this, called, arguments, slot->arguments, copies.get()); !encoded) {
        lane.release(*slot);
        return encoded;
    }
    PendingCall& call = (*lane.pending())[slot->index];
    call.begin_next();
    call.sequence.store(slot->sequence, std::memory_order_relaxed);
    call.deadline_ns.store(deadline.at_ns(), std::memory_order_relaxed);
    call.function = &called;
    call.is_watched = false;
    call.results = slot->results;
    if (copies != nullptr && copies->count() != 0) {
        count_copies(*copies);
        call.copies = std::move(copies);
    }
    if (called.has_inouts()) std::copy_n(arguments, called.arguments().size(), call.written_back.begin());
    lane.post(*slot, index, called.request_bytes(), called.result_bytes(), remaining_word(deadline), depth);
    put_token(token, call);
    ring_if_asleep(lane);
    return {};
}

Status ClientConnection::post_one_way(const Registered& function, void* const* arguments) {
    VMRPC_TRY(usable_here());
    VMRPC_TRY(usable());
    VMRPC_TRY(check_places(*function.function, arguments));
    const auto depth = depth_here();
    VMRPC_TRY(depth);
    const auto index = server_index(function, {});
    VMRPC_TRY(index);
    const auto lane = one_way_lane();
    VMRPC_TRY(lane);
    return post_on(**lane, *function.function, *index, *depth, arguments);
}

// A thread that posts more than the server executes waits for it, and does not take lane after lane.
base::Result<ClientLane*> ClientConnection::one_way_lane() {
    while (LanePool::has_async_lane(lanes_->serial())) {
        ClientLane& lane = LanePool::last_async_lane();
        sweep(lane);
        if (lane.has_free_slot()) return &lane;
        if (!lane.has_unawaited()) break;
        judge_spinning(lane);
        await([&lane] { return lane.can_sweep(); }, {}, lane.spin(), lanes_served_with(lane));
        VMRPC_TRY(usable());
    }
    if (ClientLane* const lane = lanes_->async_lane(*this); lane != nullptr) return lane;
    return base::fail(VMRPC_BUSY,
                      fmt::format("no reply slot is free for a one-way call: the connection has {} lanes of {} slots, "
                                  "of which each thread that calls takes one, and one is shared; take some answers, or "
                                  "raise max_lanes",
                                  plan().lane_count, layout::kReplySlots));
}

Status ClientConnection::post_on(ClientLane& lane, const Function& function, std::uint32_t index, std::uint32_t depth,
                                 void* const* arguments) {
    CopiesIn copies(*this);
    if (has_remote_frees()) VMRPC_TRY(drain());
    const auto slot = lane.reserve(function.request_bytes(), function.result_bytes());
    if (!slot) return tl::unexpected<base::Error>(slot.error());
    if (auto encoded = encode_arguments(*this, function, arguments, slot->arguments, &copies); !encoded) {
        lane.release(*slot);
        return encoded;
    }
    count_copies(copies);
    lane.post(*slot, index, function.request_bytes(), function.result_bytes(), 0, depth);
    lane.leave_unawaited(*slot, {.blocks = copies.take(),
                                 .result_is_block = function.result().category == VMRPC_IMPL_BLOCK,
                                 .is_one_way = true});
    ring_if_asleep(lane);
    return {};
}

bool ClientConnection::is_settled(const PendingCall& call) const {
    if (!usable_here()) return true;
    // acquire: pairs with the server's release of the reply
    const bool is_answered =
        call.lane->reply_line(call.slot).sequence.load_acquire() == call.sequence.load(std::memory_order_relaxed);
    return is_answered || is_over() || Deadline::at(call.deadline_ns.load(std::memory_order_relaxed)).passed();
}

bool ClientConnection::wait_settled(const PendingCall& call, Deadline deadline) {
    if (is_settled(call)) return true;
    const auto answered = [&] {
        return call.lane->reply_line(call.slot).sequence.load_acquire() ==
               call.sequence.load(std::memory_order_relaxed);
    };
    const Deadline earlier = Deadline::at(std::min(deadline.at_ns(), call.deadline_ns.load(std::memory_order_relaxed)));
    // The lane's budget is its own thread's.
    notify::SpinBudget budget(spin_ns_);
    const bool is_own = LanePool::is_own(*call.lane);
    if (is_own) judge_spinning(*call.lane);
    await(answered, earlier, is_own ? call.lane->spin() : budget, lanes_served_with(*call.lane));
    return is_settled(call);
}

Status ClientConnection::take(PendingCall& call, void* result) {
    VMRPC_TRY(usable_here());
    const Function& function = *call.function;
    if (result == nullptr && function.result().category != VMRPC_IMPL_NONE)
        return base::fail(VMRPC_BAD_ARGUMENT,
                          fmt::format("{} has a result, and there is no place for it", function.name()));
    if (call.is_watched && !call.lane->take_watched(call.slot))
        return base::fail(VMRPC_BAD_ARGUMENT,
                          fmt::format("the answer of {} is being handed to who is to be told of it", function.name()));
    call.is_watched = false;
    wait_settled(call, {});
    const Slot slot{
        .index = call.slot, .sequence = call.sequence.load(std::memory_order_relaxed), .results = call.results};
    if (!call.lane->answered(slot)()) return give_up(call);
    Status status = take_reply(function, slot, *call.lane, call.written_back.data(), result);
    if (!status) functions_.count_failure(function, status.error().status);
    if (status && call.copies != nullptr) call.copies->copy_back();
    call.copies.reset();
    release(call);
    return status;
}

Status ClientConnection::give_up(PendingCall& call) {
    Status reason = usable();
    if (reason)
        reason = base::fail(VMRPC_TIMED_OUT,
                            fmt::format("{} has not answered within the time limit; it may still run in the server",
                                        call.function->name()));
    functions_.count_failure(*call.function, reason.error().status);
    abandon(call);
    return reason;
}

void ClientConnection::drop(PendingCall& call) {
    if (!usable_here()) {  // the parent's memory is not mapped here
        std::ignore = call.copies.release();
        call.begin_next();
        return;
    }
    if (call.is_watched && !call.lane->take_watched(call.slot)) return;  // who is told ends it
    abandon(call);
}

// From its last line on the slot is another call's.
void ClientConnection::abandon(PendingCall& call) {
    ClientLane& lane = *call.lane;
    Held held{.blocks = call.copies == nullptr ? std::vector<void*>() : call.copies->take(),
              .result_is_block = call.function->result().category == VMRPC_IMPL_BLOCK,
              .is_one_way = false};
    call.copies.reset();
    call.begin_next();
    lanes_->count_abandoned(1);
    const Slot slot{.index = call.slot, .sequence = call.sequence.load(std::memory_order_relaxed)};
    if (LanePool::is_own(lane)) {
        lane.abandon(slot, std::move(held));
        if (!lane.answered(slot)()) post_cancel(lane, slot.sequence);
        sweep(lane);
        return;
    }
    lane.cancel_elsewhere(slot.index, slot.sequence);
    lane.abandon_elsewhere(slot.index, std::move(held));
}

void ClientConnection::release(PendingCall& call) {
    call.begin_next();
    ClientLane& lane = *call.lane;
    if (LanePool::is_own(lane))
        lane.release(Slot{.index = call.slot});
    else
        lane.release_elsewhere(call.slot);
}

void ClientConnection::cancel(const PendingCall& call) {
    if (!usable_here() || is_settled(call)) return;
    if (LanePool::is_own(*call.lane))
        post_cancel(*call.lane, call.sequence.load(std::memory_order_relaxed));
    else
        call.lane->cancel_elsewhere(call.slot, call.sequence.load(std::memory_order_relaxed));
}

Status ClientConnection::watch(PendingCall& call, void (*then)(void* context), void* context) {
    VMRPC_TRY(usable_here());
    if (call.is_watched)
        return base::fail(VMRPC_BAD_ARGUMENT,
                          fmt::format("somebody is to be told of the answer of {} already", call.function->name()));
    call.then = then;
    call.context = context;
    call.is_watched = true;
    ClientLane& lane = *call.lane;
    lanes_->has_watched(lane);
    lane.watch(call.slot);  // from here on the call is the polling thread's
    watched_count_.fetch_add(1, std::memory_order_seq_cst);
    if (waiting_for_any_.load(std::memory_order_seq_cst) != 0) waiters_.look_again();
    return {};
}

// Other threads may have asked for calls to be cancelled, which is posted now.
void ClientConnection::sweep_async() {
    lanes_->for_each_own_async([this](ClientLane& lane) {
        lanes_->sweep(lane);
        if (lane.take_posted_cancel()) ring_if_asleep(lane);
    });
}

base::Result<std::size_t> ClientConnection::poll(Deadline deadline, bool waits) {
    VMRPC_TRY(usable_here());
    sweep_async();
    if (has_remote_frees()) std::ignore = drain();  // a violation ends the connection
    const std::uint64_t lanes = lanes_of_polling();
    while (!is_over() && calls_from_server_.pending(lanes)) calls_from_server_.serve(lanes);
    std::string thrown;
    std::size_t told = tell_settled(thrown);
    while (told == 0 && waits && wait_for_any(deadline)) told = tell_settled(thrown);
    if (!thrown.empty())
        return base::fail(VMRPC_FUNCTION_FAILED, fmt::format("what was told of an answer threw: {}", thrown));
    if (told == 0) VMRPC_TRY(usable());
    return told;
}

/// False: the deadline has passed, or no call is watched.
bool ClientConnection::wait_for_any(Deadline deadline) {
    if (deadline.passed() || !has_watched()) return false;
    waiting_for_any_.fetch_add(1, std::memory_order_seq_cst);
    const std::uint64_t before = watched_count_.load(std::memory_order_seq_cst);
    const auto ready = [&] {
        return has_settled_watched() || watched_count_.load(std::memory_order_seq_cst) != before;
    };
    notify::SpinBudget budget(spin_ns_);
    await(ready, Deadline::at(std::min(deadline.at_ns(), first_watched_deadline().at_ns())), budget,
          lanes_of_polling());
    waiting_for_any_.fetch_sub(1, std::memory_order_relaxed);
    return true;
}

/// Those whose calls back a thread executes that waits for all that is watched.
std::uint64_t ClientConnection::lanes_of_polling() const {
    std::uint64_t lanes = lanes_->own_lanes() | std::uint64_t{1} << lanes_->shared_lane();
    lanes_->for_each_watched_lane([&](const ClientLane& lane) { lanes |= std::uint64_t{1} << lane.number(); });
    return lanes;
}

template <class Visit>
void ClientConnection::for_each_watched(const Visit& visit) const {
    lanes_->for_each_watched_lane([&](ClientLane& lane) {
        for (std::uint32_t left = lane.watched(); left != 0; left &= left - 1)
            visit((*lane.pending())[static_cast<std::size_t>(__builtin_ctz(left))]);
    });
}

bool ClientConnection::has_watched() const {
    bool has = false;
    for_each_watched([&](const PendingCall&) { has = true; });
    return has;
}

bool ClientConnection::has_settled_watched() const {
    bool has = false;
    for_each_watched([&](const PendingCall& call) { has = has || is_settled(call); });
    return has;
}

Deadline ClientConnection::first_watched_deadline() const {
    std::int64_t first_ns = Deadline::kNever;
    for_each_watched([&](const PendingCall& call) {
        first_ns = std::min(first_ns, call.deadline_ns.load(std::memory_order_relaxed));
    });
    return Deadline::at(first_ns);
}

// Another thread may take a call, and the slot may carry another one, between the look and the taking: so it looks
// again.
std::size_t ClientConnection::tell_settled(std::string& thrown) {
    std::size_t told = 0;
    for_each_watched([&](PendingCall& call) {
        if (!is_settled(call) || !call.lane->take_watched(call.slot)) return;
        if (!is_settled(call)) return call.lane->watch(call.slot);
        call.is_watched = false;
        ++told;
        try {
            call.then(call.context);
        } catch (const std::exception& exception) {
            thrown = exception.what();
        } catch (...) {
            thrown = "something that is no std::exception";
        }
    });
    return told;
}

// Tokens outlive the connection, and find that it is closed; who is to be told of an answer is told that.
void ClientConnection::close_pending() {
    struct Told {
        void (*then)(void* context);
        void* context;
    };
    const bool is_here = usable_here().has_value();
    std::vector<Told> told;
    lanes_->for_each_pending([&](PendingCall& call) {
        if (std::exchange(call.is_watched, false)) told.push_back({call.then, call.context});
        if (is_here)
            call.copies.reset();
        else
            std::ignore = call.copies.release();  // the heap is the parent's
        call.begin_next();
    });
    if (!is_here) return;
    for (const Told& each : told) {
        try {
            each.then(each.context);
        } catch (const std::exception& exception) {
            base::log().error("what was told that a connection is closed threw: {}", exception.what());
        } catch (...) {
            base::log().error("what was told that a connection is closed threw");
        }
    }
}

}  // namespace vmrpc::call
