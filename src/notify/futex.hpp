// The futex system call, with deadlines.
#pragma once

#include "base/clock.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace vmrpc::notify {

enum class FutexScope { kPrivate, kShared };  // kShared: the word lies in memory that another process maps

/// Sleeps while `*word` is `expected`, until woken, until `deadline`, or for no reason. The comparison and the going to
/// sleep are one step for the kernel, so a wake-up that follows a change of the word is never lost.
inline void futex_wait(const void* word, std::uint32_t expected, base::Deadline deadline, FutexScope scope) noexcept {
    timespec left{};
    if (!deadline.is_never()) {
        const std::int64_t left_ns = deadline.remaining_ns();
        left = {.tv_sec = left_ns / 1'000'000'000, .tv_nsec = left_ns % 1'000'000'000};
    }
    const int operation = scope == FutexScope::kPrivate ? FUTEX_WAIT_PRIVATE : FUTEX_WAIT;
    ::syscall(SYS_futex, word, operation, expected, deadline.is_never() ? nullptr : &left, nullptr, 0);
}

/// Wakes every thread that sleeps on `word`.
inline void futex_wake_all(const void* word, FutexScope scope) noexcept {
    const int operation = scope == FutexScope::kPrivate ? FUTEX_WAKE_PRIVATE : FUTEX_WAKE;
    ::syscall(SYS_futex, word, operation, INT32_MAX, nullptr, nullptr, 0);
}

}  // namespace vmrpc::notify
