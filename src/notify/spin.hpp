// How long to look at memory before sleeping.
#pragma once

#include "base/clock.hpp"
#include "notify/pause.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace vmrpc::notify {

/// A spin budget that learns from what spinning gained. As in KVM's halt polling (Documentation/virt/kvm/halt-polling
/// in the Linux kernel) an event that came soon after going to sleep would have been caught by more spinning, so the
/// budget grows; one that took long would not, so it shrinks. Unlike there, spinning that fails several times in a row,
/// and could not gain by growing, is given up for a while: where the peer waits for the very CPU that spins, it can
/// never gain anything. For one thread.
class SpinBudget {
  public:
    static constexpr std::int64_t kAdaptive = 0;
    static constexpr std::int64_t kNever = -1;
    static constexpr std::int64_t kAlways = std::numeric_limits<std::int64_t>::max();
    /// Waking a thread on another CPU takes 20 to 107 us: spinning longer than that costs more than it can gain.
    static constexpr std::int64_t kMaxAdaptiveNs = 100'000;
    static constexpr std::int64_t kFirstAdaptiveNs = 50'000;
    /// Pauses between bursts of calls must not shrink it to where it misses the calls of the next burst.
    static constexpr std::int64_t kLeastAdaptiveNs = 10'000;

    SpinBudget() = default;
    /// kAdaptive; kAlways: no end; negative: never spin; else a fixed budget in nanoseconds.
    explicit SpinBudget(std::int64_t spin_ns)
        : adaptive_(spin_ns == kAdaptive),
          budget_ns_(adaptive_ ? kFirstAdaptiveNs : std::max<std::int64_t>(spin_ns, 0)) {}

    /// Spins that can gain nothing: both sides can only run on one CPU.
    void forbid() { *this = SpinBudget(kNever); }

    [[nodiscard]] std::int64_t budget_ns() const { return budget_ns_; }
    [[nodiscard]] bool is_endless() const { return budget_ns_ == kAlways; }

    /// To be told that the event came while spinning.
    void gained() { failures_ = 0; }

    /// Whether slept() uses the time that it is told.
    [[nodiscard]] bool wants_time() const { return adaptive_ && budget_ns_ != 0; }

    /// To be told how long it was from the start of spinning to the event, when spinning was not enough.
    void slept(std::int64_t waited_ns) {
        if (!adaptive_) return;
        const bool more_may_gain = waited_ns <= 2 * kMaxAdaptiveNs && budget_ns_ != 0 && budget_ns_ < kMaxAdaptiveNs;
        if (more_may_gain) {
            budget_ns_ = std::min(2 * budget_ns_, kMaxAdaptiveNs);
            return;
        }
        if (failures_++ == 0) rest_ = kFirstRest;  // it has gained something since the last failure
        if (budget_ns_ == 0) {
            if (failures_ < kGiveUpAfter + rest_) return;
            // Try again, once: the peer may have moved to another CPU, or come back to work.
            budget_ns_ = kFirstAdaptiveNs;
            failures_ = kGiveUpAfter - 1;
            rest_ = std::min(2 * rest_, kLongestRest);
        } else if (failures_ >= kGiveUpAfter) {
            budget_ns_ = 0;
        } else if (waited_ns > 2 * kMaxAdaptiveNs) {
            budget_ns_ = std::max(budget_ns_ / 2, kLeastAdaptiveNs);
        }
    }

  private:
    static constexpr int kGiveUpAfter = 4;  // failures in a row
    // Waits without spinning, before it is tried again. Two sides that both gave up must try at the same time to gain
    // anything, so the first rests are short.
    static constexpr int kFirstRest = 4;
    static constexpr int kLongestRest = 64;
    bool adaptive_ = true;
    std::int64_t budget_ns_ = kFirstAdaptiveNs;
    int failures_ = 0;  // waits in a row that spinning did not gain, those without spinning too
    int rest_ = kFirstRest;
};

/// Looks for `ready` up to the budget or the deadline. Returns whether it came. The clock is read once for each
/// `kLooksPerClock` looks only, so that the common case, an answer within a microsecond, reads none at all.
template <class Ready>
bool spin(const SpinBudget& budget, base::Deadline deadline, Ready&& ready) {
    constexpr int kLooksPerClock = 64;
    if (budget.budget_ns() == 0) return ready();
    for (std::int64_t start_ns = 0;;) {
        for (int look = 0; look < kLooksPerClock; ++look) {
            if (ready()) return true;
            pause_between_looks();
        }
        if (budget.is_endless() && deadline.is_never()) continue;
        const std::int64_t now_ns = base::now_ns();
        if (start_ns == 0) start_ns = now_ns;
        if (now_ns - start_ns >= budget.budget_ns() || deadline.passed()) return false;
    }
}

/// Sleeps in `sleep`, after spinning was not enough, and tells the budget. The clock is read only if that matters: in
/// an emulated guest it is a device, and two readings of it are a tenth of a call.
template <class Sleep>
void sleep_after(SpinBudget& budget, Sleep&& sleep) {
    const bool is_timed = budget.wants_time();
    const std::int64_t start_ns = is_timed ? base::now_ns() : 0;
    sleep();
    budget.slept(is_timed ? base::now_ns() - start_ns + budget.budget_ns() : 0);
}

}  // namespace vmrpc::notify
