// A lock for sections of a few instructions, where a mutex's second atomic operation would be felt.
#pragma once

#include "base/cpu.hpp"

#include <sched.h>

#include <atomic>

namespace vmrpc::base {

/// A mutex (for std::lock_guard) whose holder does a few dozen nanoseconds' work, in private memory: one atomic
/// exchange to take it, a plain store to give it back, where a std::mutex takes two atomic operations. Who waits spins,
/// and lets others run if that takes long, as its holder may have been preempted. Not recursive, not fair.
class BriefLock {
  public:
    void lock() noexcept {
        while (!try_lock()) wait();
    }
    // acquire: pairs with the release in unlock(), so that what the last holder did is seen
    bool try_lock() noexcept { return !is_held_.exchange(true, std::memory_order_acquire); }
    void unlock() noexcept { is_held_.store(false, std::memory_order_release); }

  private:
    /// Until it looks free. Loads only: those who wait do not take the line from each other.
    void wait() const noexcept {
        constexpr int kPauses = 100;
        // relaxed: a hint, try_lock() follows
        for (int i = 1; is_held_.load(std::memory_order_relaxed); ++i) {
            cpu_pause();
            if (i % kPauses == 0) ::sched_yield();
        }
    }

    std::atomic<bool> is_held_{false};
};

}  // namespace vmrpc::base
