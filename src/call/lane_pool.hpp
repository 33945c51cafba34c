// Which thread uses which lane.
#pragma once

#include "base/clock.hpp"
#include "call/client_lane.hpp"
#include "call/endpoint.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
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
    LanePool(Endpoint& endpoint, std::int64_t spin_ns, std::uint32_t first = 0);
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
    static void forget_last_lane() noexcept {
        last_lane = kNoLane;
        last_async = kNoLane;
        thread_tag = 0;
    }

    /// A lane of the calling thread's for asynchronous calls, which has a free slot; the thread leases further ones as
    /// it needs them. nullptr if there is none left.
    ClientLane* async_lane(ClientConnection& client);
    /// As has_own_lane() and last_own_lane(), for the lane that async_lane() gave this thread last.
    [[nodiscard]] static bool has_async_lane(std::uint64_t serial) { return last_async.serial == serial; }
    [[nodiscard]] static ClientLane& last_async_lane() { return *last_async.lane; }
    /// Whether this thread posts on that lane. False in a forked child.
    [[nodiscard]] static bool is_own(const ClientLane& lane) { return thread_tag != 0 && lane.owner() == thread_tag; }
    /// Calls `visit` with each lane that watched calls may be on. Any thread.
    template <class Visit>
    void for_each_watched_lane(Visit&& visit) const {
        // acquire: pairs with the release in has_watched(), so that the lane is seen
        for (std::uint64_t left = watched_lanes_.load(std::memory_order_acquire); left != 0; left &= left - 1)
            visit(*lanes_[static_cast<std::size_t>(__builtin_ctzll(left))]);
    }
    /// There is or will be a watched call on that lane.
    void has_watched(const ClientLane& lane) {
        watched_lanes_.fetch_or(std::uint64_t{1} << lane.number(), std::memory_order_release);
    }
    /// Calls `visit` with each call in flight that has a token. When no other thread uses the connection any more.
    template <class Visit>
    void for_each_pending(Visit&& visit) const {
        for (const auto& lane : lanes_) {
            if (lane == nullptr || lane->pending() == nullptr) continue;
            for (PendingCall& call : *lane->pending()) {
                if (call.is_in_flight()) visit(call);
            }
        }
    }

    /// Ends what other threads have ended on a lane of this thread's, and calls there that nobody waits for and that
    /// have been answered.
    void sweep(ClientLane& lane);
    /// The lanes that this thread makes calls on, as bits by number.
    [[nodiscard]] std::uint64_t own_lanes() const;
    /// The lane that no thread leases: threads without one of their own share it.
    [[nodiscard]] std::uint32_t shared_lane() const { return count_ - 1; }
    /// Calls `visit` with each lane that this thread makes asynchronous calls on.
    void for_each_own_async(const std::function<void(ClientLane&)>& visit) const;

    /// One-way calls that were answered with an error; and the last of these.
    [[nodiscard]] std::uint64_t one_way_errors() const { return one_way_errors_.load(std::memory_order_relaxed); }
    [[nodiscard]] base::Error last_one_way_error();

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

    [[gnu::tls_model("initial-exec")]] static constinit thread_local LastLane last_async;
    /// Different in each thread that has leased a lane; 0 in others.
    [[gnu::tls_model("initial-exec")]] static constinit thread_local std::uint64_t thread_tag;

    ClientLane* lease(bool is_async);
    std::uint32_t find_at_rest();
    std::optional<base::Error> settle(ClientLane& lane);
    ClientLane& made(std::uint32_t index);

    Endpoint& endpoint_;
    const std::int64_t spin_ns_;
    const std::uint64_t serial_;
    const std::uint32_t count_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<ClientLane>> lanes_;  // under mutex_, made at first lease
    std::uint64_t free_;                              // under mutex_: bit i: lane i may be leased
    std::mutex shared_mutex_;
    std::condition_variable slot_freed_;
    std::atomic<std::uint64_t> abandoned_{0};       // a counter, read for statistics only
    std::atomic<std::uint64_t> one_way_errors_{0};  // likewise
    base::Error last_one_way_error_;                // under mutex_
    std::atomic<std::uint64_t> watched_lanes_{0};   // bit i: lane i; only grows
};

}  // namespace vmrpc::call
