// Which thread uses which lane.
#pragma once

#include "base/clock.hpp"
#include "call/client_lane.hpp"
#include "call/endpoint.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace vmrpc::call {

/// The lanes of one client. A thread leases a lane at its first call and keeps it until it ends; when all but the last
/// are leased, further threads share the last one under a private mutex.
class LanePool : public std::enable_shared_from_this<LanePool> {
  public:
    /// The lane of a call. Holds the mutex if the lane is the shared one.
    struct Use {
        ClientLane& lane;
        std::unique_lock<std::mutex> lock;
        [[nodiscard]] bool is_shared() const { return lock.mutex() != nullptr; }
    };

    /// Lanes below `first` are not the pool's. Requires that there is one above.
    LanePool(const Endpoint& endpoint, std::int64_t spin_ns, std::uint32_t first = 0);
    ~LanePool();
    LanePool(const LanePool&) = delete;
    LanePool& operator=(const LanePool&) = delete;

    /// The calling thread's lane.
    Use use();
    /// Never used by another pool of this process; not 0.
    [[nodiscard]] std::uint64_t serial() const { return serial_; }
    /// Whether the pool of that serial, which is in use, has lent last_own_lane() to this thread: the common case.
    /// False in a forked child for all serials of its parent's.
    [[nodiscard]] static bool has_own_lane(std::uint64_t serial) { return last_lane.serial == serial; }
    [[nodiscard]] static ClientLane& last_own_lane() { return *last_lane.lane; }
    /// For a forked child, at once.
    static void forget_last_lane() noexcept { last_lane = kNoLane; }

    /// Waits until the shared lane, whose lock is held, may have a free slot again. False: the deadline has passed.
    bool wait_for_slot(Use& use, base::Deadline deadline);
    /// To be called with a shared lane's lock held after a slot became free.
    void slot_freed() { slot_freed_.notify_one(); }

    /// Requests posted on all lanes. A snapshot.
    [[nodiscard]] std::uint64_t calls();
    /// Calls given up and not answered since, of all lanes. A snapshot.
    [[nodiscard]] std::uint64_t abandoned() const { return abandoned_.load(std::memory_order_relaxed); }
    void count_abandoned(std::int64_t change) {
        abandoned_.fetch_add(static_cast<std::uint64_t>(change), std::memory_order_relaxed);
    }

    /// Takes the guards of all RPC stacks away: before the memory is unmapped.
    void unguard();

    /// A thread that leased a lane has ended.
    void give_back(std::uint32_t index);

  private:
    /// The lane of the thread's last call. Without a constructor to guard, and at a place that is known when the
    /// library is loaded, so that it is found without a call.
    struct LastLane {
        std::uint64_t serial;
        ClientLane* lane;
    };
    static constexpr std::uint64_t kNoSerial = UINT64_MAX;  // not 0: that is the serial of what is over
    static constexpr LastLane kNoLane{kNoSerial, nullptr};
    [[gnu::tls_model("initial-exec")]] static constinit thread_local LastLane last_lane;

    ClientLane* lease();
    ClientLane& made(std::uint32_t index);

    const Endpoint& endpoint_;
    const std::int64_t spin_ns_;
    const std::uint64_t serial_;
    const std::uint32_t count_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<ClientLane>> lanes_;  // under mutex_, made at first lease
    std::uint64_t free_;                              // under mutex_: bit i: lane i may be leased
    std::mutex shared_mutex_;
    std::condition_variable slot_freed_;
    std::atomic<std::uint64_t> abandoned_{0};  // a counter, read for statistics only
};

}  // namespace vmrpc::call
