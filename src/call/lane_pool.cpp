#include "call/lane_pool.hpp"

#include "base/cpu.hpp"
#include "notify/fork_guard.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>

namespace vmrpc::call {
namespace {

std::atomic<std::uint64_t> next_serial{1};  // a counter; orders nothing

/// A lane that this thread has leased.
struct Leased {
    std::uint64_t serial;
    std::uint32_t generation;  // of the process
    std::uint32_t index;
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
        if (lane.serial == serial) return lane.lane;
    }
    return nullptr;
}

// The child's only thread is the copy of the one that forked; its connections are the parent's.
[[maybe_unused]] const int installed = ::pthread_atfork(nullptr, nullptr, [] { LanePool::forget_last_lane(); });

}  // namespace

[[gnu::tls_model("initial-exec")]] constinit thread_local LanePool::LastLane LanePool::last_lane{kNoSerial, nullptr};

LanePool::LanePool(const Endpoint& endpoint, std::int64_t spin_ns, std::uint32_t first)
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
    if (own == nullptr) own = lease();
    if (own != nullptr) {
        last_lane = {serial_, own};
        return {*own, {}};
    }
    std::unique_lock shared(shared_mutex_);
    const std::scoped_lock lock(mutex_);
    return {made(count_ - 1), std::move(shared)};
}

// The lowest free lane: the server polls lanes 0 to the highest in use.
ClientLane* LanePool::lease() {
    const std::scoped_lock lock(mutex_);
    if (free_ == 0) return nullptr;
    const auto index = static_cast<std::uint32_t>(__builtin_ctzll(free_));
    free_ &= free_ - 1;
    ClientLane* lane = &made(index);
    auto& leased = thread_lanes().leased;
    std::erase_if(leased, [](const Leased& old) { return old.pool.expired(); });
    leased.push_back({serial_, notify::process_generation(), index, lane, weak_from_this()});
    return lane;
}

ClientLane& LanePool::made(std::uint32_t index) {
    if (lanes_[index] != nullptr) return *lanes_[index];
    const layout::RegionPlan& plan = endpoint_.plan();
    lanes_[index] = std::make_unique<ClientLane>(endpoint_.lane(index), endpoint_.segment(),
                                                 layout::Extent{plan.stack_offset(index), plan.stack_bytes}, spin_ns_);
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
