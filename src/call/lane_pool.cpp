#include "call/lane_pool.hpp"

#include "base/cpu.hpp"
#include "notify/fork_guard.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>

namespace vmrpc::call {
namespace {

std::atomic<std::uint64_t> next_serial{1};      // a counter; orders nothing
std::atomic<std::uint64_t> next_thread_tag{1};  // likewise

/// A lane that this thread has leased.
struct Leased {
    std::uint64_t serial;
    std::uint32_t generation;  // of the process
    std::uint32_t index;
    bool is_async;
    ClientLane* lane;
    std::weak_ptr<LanePool> pool;
};

/// Gives the thread's lanes back when it ends.
struct ThreadLanes {
    std::vector<Leased> leased;
    /// Not in a forked child: there the pool's mutex may be held by a thread that is not.
    ~ThreadLanes() {
        for (const Leased& lane : leased) {
            if (lane.generation != notify::process_generation()) continue;
            if (const auto pool = lane.pool.lock()) pool->give_back(lane.index);
        }
    }
};

ThreadLanes& thread_lanes() {
    thread_local ThreadLanes lanes;
    return lanes;
}

ClientLane* find_leased(std::uint64_t serial) {
    for (const Leased& lane : thread_lanes().leased) {
        if (lane.serial == serial && !lane.is_async) return lane.lane;
    }
    return nullptr;
}

// The child's only thread is the copy of the one that forked; its connections are the parent's.
[[maybe_unused]] const int installed = ::pthread_atfork(nullptr, nullptr, [] { LanePool::forget_last_lane(); });

}  // namespace

[[gnu::tls_model("initial-exec")]] constinit thread_local LanePool::LastLane LanePool::last_lane{kNoSerial, nullptr};
[[gnu::tls_model("initial-exec")]] constinit thread_local LanePool::LastLane LanePool::last_async{kNoSerial, nullptr};
[[gnu::tls_model("initial-exec")]] constinit thread_local std::uint64_t LanePool::thread_tag = 0;

LanePool::LanePool(Endpoint& endpoint, std::int64_t spin_ns, std::uint32_t first)
    : endpoint_(endpoint),
      spin_ns_(spin_ns),
      serial_(next_serial.fetch_add(1, std::memory_order_relaxed)),
      count_(endpoint.plan().lane_count),
      lanes_(count_),
      free_((std::uint64_t{1} << (count_ - 1)) - (std::uint64_t{1} << first)) {}

LanePool::~LanePool() = default;

LanePool::Use LanePool::use() {
    if (has_own_lane(serial_)) return {last_own_lane(), {}};
    ClientLane* own = find_leased(serial_);
    if (own == nullptr) own = lease(false);
    if (own != nullptr) {
        last_lane = {serial_, own};
        return {*own, {}};
    }
    std::unique_lock shared(shared_mutex_);
    const std::scoped_lock lock(mutex_);
    return {made(count_ - 1), std::move(shared)};
}

ClientLane* LanePool::async_lane(ClientConnection& client) {
    for (const Leased& leased : thread_lanes().leased) {
        if (leased.serial != serial_ || !leased.is_async) continue;
        if (!leased.lane->takes_calls()) sweep(*leased.lane);
        if (!leased.lane->takes_calls()) continue;
        last_async = {serial_, leased.lane};
        return leased.lane;
    }
    ClientLane* const lane = lease(true);
    if (lane == nullptr) return nullptr;
    lane->prepare_pending(client);
    last_async = {serial_, lane};
    return lane;
}

ClientLane* LanePool::lease(bool is_async) {
    const std::scoped_lock lock(mutex_);
    const std::uint32_t index = find_at_rest();
    if (index == count_) return nullptr;
    free_ &= ~(std::uint64_t{1} << index);
    ClientLane* lane = &made(index);
    if (thread_tag == 0) thread_tag = next_thread_tag.fetch_add(1, std::memory_order_relaxed);
    lane->set_owner(thread_tag);
    auto& leased = thread_lanes().leased;
    std::erase_if(leased, [](const Leased& old) { return old.pool.expired(); });
    leased.push_back({serial_, notify::process_generation(), index, is_async, lane, weak_from_this()});
    return lane;
}

// Under mutex_. The lowest free lane, as the server polls lanes 0 to the highest in use, that no call of the thread
// before is in flight on; count_ if there is none.
std::uint32_t LanePool::find_at_rest() {
    for (std::uint64_t left = free_; left != 0; left &= left - 1) {
        const auto index = static_cast<std::uint32_t>(__builtin_ctzll(left));
        if (lanes_[index] == nullptr) return index;
        if (const auto error = settle(*lanes_[index])) last_one_way_error_ = *error;
        if (lanes_[index]->is_at_rest()) return index;
    }
    return count_;
}

void LanePool::sweep(ClientLane& lane) {
    if (const auto error = settle(lane)) {
        const std::scoped_lock lock(mutex_);
        last_one_way_error_ = *error;
    }
}

/// Returns the last error of a one-way call, if there was one.
std::optional<base::Error> LanePool::settle(ClientLane& lane) {
    std::optional<base::Error> last;
    std::uint64_t last_sequence = 0;
    if (lane.pending() != nullptr) lane.collect();
    if (!lane.has_to_sweep()) return last;
    const auto before = static_cast<std::int64_t>(lane.abandoned_count());
    struct Free {  // copies of ours by address, blocks that the server returned as it wrote them
        Endpoint& endpoint;
        void operator()(void* block) const { std::ignore = endpoint.release(block); }
        void operator()(layout::WireOffset block) const {
            if (void* const place = endpoint.from_wire(block, 1, 1)) std::ignore = endpoint.release(place);
        }
    };
    lane.sweep(Free{endpoint_}, [&](const OneWayError& error) {
        one_way_errors_.fetch_add(1, std::memory_order_relaxed);
        if (error.sequence < last_sequence) return;
        last_sequence = error.sequence;
        last = base::Error{base::failure_from_peer(error.status), error.text};
    });
    count_abandoned(static_cast<std::int64_t>(lane.abandoned_count()) - before);
    return last;
}

std::uint64_t LanePool::own_lanes() const {
    std::uint64_t lanes = 0;
    for (const Leased& leased : thread_lanes().leased) {
        if (leased.serial == serial_) lanes |= std::uint64_t{1} << leased.index;
    }
    return lanes;
}

void LanePool::for_each_own_async(const std::function<void(ClientLane&)>& visit) const {
    for (const Leased& leased : thread_lanes().leased) {
        if (leased.serial == serial_ && leased.is_async) visit(*leased.lane);
    }
}

base::Error LanePool::last_one_way_error() {
    const std::scoped_lock lock(mutex_);
    return last_one_way_error_;
}

ClientLane& LanePool::made(std::uint32_t index) {
    if (lanes_[index] != nullptr) return *lanes_[index];
    const layout::RegionPlan& plan = endpoint_.plan();
    lanes_[index] = std::make_unique<ClientLane>(endpoint_.lane(index), index, endpoint_.segment(),
                                                 layout::Extent{plan.stack_offset(index), plan.stack_bytes}, spin_ns_,
                                                 plan.connection);
    auto& in_use = endpoint_.control().client.lanes_in_use;
    // The server reads it relaxed in each round; a request on the new lane orders itself.
    if (in_use.load_relaxed() <= index) in_use.store_relaxed(index + 1);
    return *lanes_[index];
}

std::uint64_t LanePool::calls() {
    const std::scoped_lock lock(mutex_);
    std::uint64_t calls = 0;
    for (const auto& lane : lanes_) calls += lane == nullptr ? 0 : lane->calls();
    return calls;
}

void LanePool::unguard() {
    const std::scoped_lock lock(mutex_);
    for (const auto& lane : lanes_) {
        if (lane != nullptr) lane->execution_stack().unguard();
    }
}

void LanePool::give_back(std::uint32_t index) {
    const std::scoped_lock lock(mutex_);
    lanes_[index]->set_owner(0);
    free_ |= std::uint64_t{1} << index;
}

bool LanePool::wait_for_slot(Use& use, base::Deadline deadline) {
    if (deadline.is_never()) {
        slot_freed_.wait(use.lock);
        return true;
    }
    const auto left = std::chrono::nanoseconds(deadline.remaining_ns());
    return left.count() > 0 && slot_freed_.wait_for(use.lock, left) == std::cv_status::no_timeout;
}

}  // namespace vmrpc::call
