// Time: one monotonic clock, in nanoseconds, and points in time on it.
#pragma once

#include <time.h>

#include <cstdint>
#include <limits>

namespace vmrpc::base {

/// CLOCK_MONOTONIC in nanoseconds. No system call where the kernel offers it through the vDSO.
inline std::int64_t now_ns() {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

/// A point in time after which waiting ends; "never" if it was made without a limit.
class Deadline {
  public:
    /// Never passes.
    Deadline() = default;

    /// Passes `limit_ns` from now; 0 or less means: no limit.
    static Deadline in(std::int64_t limit_ns) {
        Deadline deadline;
        if (limit_ns <= 0) return deadline;
        const std::int64_t now = now_ns();
        deadline.at_ns_ = limit_ns > kNever - now ? kNever : now + limit_ns;
        return deadline;
    }

    /// The one that passes at that time of now_ns(); kNever: the one that never does.
    static Deadline at(std::int64_t at_ns) {
        Deadline deadline;
        deadline.at_ns_ = at_ns;
        return deadline;
    }
    static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
    [[nodiscard]] std::int64_t at_ns() const { return at_ns_; }

    [[nodiscard]] bool is_never() const { return at_ns_ == kNever; }
    [[nodiscard]] bool passed() const { return !is_never() && now_ns() >= at_ns_; }
    /// What is left, at least 0; meaningless for "never".
    [[nodiscard]] std::int64_t remaining_ns() const {
        const std::int64_t left = at_ns_ - now_ns();
        return left > 0 ? left : 0;
    }
    /// What is left in milliseconds, rounded up, as poll(2) takes it; -1 for "never".
    [[nodiscard]] int remaining_ms() const {
        if (is_never()) return -1;
        const std::int64_t left = (remaining_ns() + 999'999) / 1'000'000;
        return left > std::numeric_limits<int>::max() ? std::numeric_limits<int>::max() : static_cast<int>(left);
    }

  private:
    std::int64_t at_ns_ = kNever;
};

}  // namespace vmrpc::base
