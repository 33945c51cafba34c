// What a waiting client sleeps on: a transport's link implements it.
#pragma once

#include "base/clock.hpp"

#include <cstdint>

namespace vmrpc::notify {

class Sleeper {
  public:
    Sleeper() = default;
    Sleeper(const Sleeper&) = delete;
    Sleeper& operator=(const Sleeper&) = delete;
    virtual ~Sleeper() = default;

    /// Sleeps until this side's Rung word differs from `seen`, `deadline` passes, or for no reason at all. One thread
    /// at a time (the leading waiter).
    virtual void wait(std::uint32_t seen, base::Deadline deadline) noexcept = 0;
    /// Makes a wait() that runs now, or that starts with a `seen` loaded before now, return. Any thread.
    virtual void interrupt_wait() noexcept = 0;
};

}  // namespace vmrpc::notify
