// How a process that is rung sleeps.
#pragma once

#include "base/clock.hpp"
#include "transport/vm/doorbell.hpp"

#include <atomic>
#include <memory>

namespace vmrpc::transport::vm {

/// On an eventfd a wait without a deadline is one system call and reads no clock, which in a guest may be a device's.
class InterruptWait {
  public:
    /// Errors: VMRPC_OUT_OF_RESOURCES.
    static base::Result<std::unique_ptr<InterruptWait>> make(Interrupt interrupt);

    /// Sleeps until rung, woken, the deadline, or for no reason. One thread at a time, which is synchronised with the
    /// next one (the leading waiter).
    void wait(base::Deadline deadline) noexcept;
    /// Makes a wait() that runs now, or the next one, return. Any thread; does not block.
    void wake() noexcept;
    /// The same, if a wait() is likely to be running. Any thread.
    void wake_who_sleeps() noexcept;
    /// Whether nothing will ring any more. The waiting thread.
    [[nodiscard]] bool has_hung_up() const { return has_hung_up_; }

  private:
    void poll_until(base::Deadline deadline) noexcept;
    void take_rings() noexcept;

    notify::GuardedFd rings_;
    notify::GuardedFd wakes_;  // an eventfd; none: rings_ is one
    bool has_hung_up_ = false;
    /// relaxed: says nothing of other memory, and who sees it late looks again in time.
    std::atomic<bool> sleeps_{false};
};

}  // namespace vmrpc::transport::vm
