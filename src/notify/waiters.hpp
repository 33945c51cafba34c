// The threads of one client that wait for replies: one of them leads, the others follow.
#pragma once

#include "base/clock.hpp"
#include "layout/region.hpp"
#include "notify/sleeper.hpp"

#include <atomic>
#include <cstdint>
#include <list>
#include <mutex>

namespace vmrpc::notify {

/// One thread's wait for something that a peer publishes. Lives on that thread's stack.
class Waiter {
  public:
    /// `ready`, which must outlive the object, says whether it has come; the leading thread asks it too. Its loads
    /// acquire, and pair with the peer's release.
    template <class Ready>
    explicit Waiter(const Ready& ready)
        : look_([](const void* what) { return (*static_cast<const Ready*>(what))(); }), what_(&ready) {}

    [[nodiscard]] bool ready() const { return look_(what_); }
    /// Private futex word of a follower. Changed (release) under the mutex before the wake-up; pairs with the acquire
    /// load before it sleeps.
    std::atomic<std::uint32_t> signal{0};

  private:
    bool (*look_)(const void* what);
    const void* what_;
};

/// A connection has one thing to wait on (a futex word, a descriptor). Several threads waiting on it would steal each
/// other's wake-ups, so one waiter leads: it alone arms this side's ring-me generation and waits in the sleeper; after
/// each ring it wakes the followers whose words are ready. A leader that leaves promotes a follower. Threads: any.
class Waiters {
  public:
    /// `ring_me` and `rung` are this side's lines; all must outlive the object.
    Waiters(Sleeper& sleeper, layout::RingMe& ring_me, const layout::Rung& rung)
        : sleeper_(sleeper), ring_me_(ring_me), rung_(rung) {}

    /// Sleeps until waiter is ready, the deadline passes, or interrupt() was called. Returns whether it is ready.
    bool wait(Waiter& waiter, base::Deadline deadline);

    /// The connection is over: every wait() that runs or starts from now on returns. Any thread.
    void interrupt();

    /// What somebody waits for may have come in another way than from the peer: all look again. Any thread.
    void look_again();

  private:
    void lead(Waiter& waiter, base::Deadline deadline);
    void wake_ready_followers();
    void leave(Waiter& waiter);
    static void wake(Waiter& waiter);

    Sleeper& sleeper_;
    layout::RingMe& ring_me_;
    const layout::Rung& rung_;
    std::mutex mutex_;
    Waiter* leader_ = nullptr;      // under mutex_
    std::list<Waiter*> followers_;  // under mutex_, oldest first
    std::uint32_t generation_ = 0;  // of ring_me_; the leader's
    std::atomic<bool> interrupted_{false};
};

}  // namespace vmrpc::notify
