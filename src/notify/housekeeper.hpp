// The housekeeping thread: one in each process, for everything that must happen without a caller: accepting, noticing
// deaths, time limits of hand-shakes. It starts when something is first registered and ends when nothing is.
//
// Callbacks run on it, one at a time. They must not block: everything else in the process that waits for the
// housekeeper waits with them. Signals stay with the program's own threads.
#pragma once

#include "base/result.hpp"

#include <cstdint>
#include <functional>
#include <memory>

namespace vmrpc::notify {

class Housekeeper;

/// A registration; move-only. Its destruction ends it: afterwards the callback is not running, will not run, and what
/// it captured is destroyed. If a callback is running, destruction waits for its end, so it must not happen under a
/// lock that the callback takes. A callback may destroy its own Watch, and others.
/// Threads: one object is for one thread at a time. A Watch copied by fork() into a child does nothing there.
class [[nodiscard]] Watch {
  public:
    Watch() = default;
    Watch(Watch&& other) noexcept;
    Watch& operator=(Watch&& other) noexcept;
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch() { reset(); }

    /// As destruction.
    void reset() noexcept;
    /// Of a descriptor watched with EPOLLONESHOT: it is reported again when it is ready, perhaps at once. Does nothing
    /// for a Watch that was reset. The callback may call it.
    void rearm() const noexcept;

  private:
    friend class Housekeeper;
    Watch(std::shared_ptr<Housekeeper> housekeeper, std::uint64_t id);

    std::shared_ptr<Housekeeper> housekeeper_;
    std::uint64_t id_ = 0;
};

/// Calls `callback` with what happened (EPOLLIN, …) whenever `descriptor` is ready for `epoll_events` (as epoll_ctl
/// takes them, EPOLLET and EPOLLONESHOT included). The descriptor stays the caller's, and must stay open for as long as
/// the Watch lives. The callback may run before this returns. Any thread, does not block.
/// Errors: VMRPC_OUT_OF_RESOURCES (no descriptor or thread left), VMRPC_BAD_ARGUMENT, VMRPC_NOT_PERMITTED (a descriptor
/// that cannot be polled).
base::Result<Watch> watch(int descriptor, std::uint32_t epoll_events, std::function<void(std::uint32_t)> callback);

/// Calls `callback` once, `delay_ns` or a little more from now. The rest as with watch().
base::Result<Watch> after(std::int64_t delay_ns, std::function<void()> callback);

/// Whether the calling thread is the housekeeping thread, that is, whether a callback is calling.
[[nodiscard]] bool on_housekeeping_thread() noexcept;

}  // namespace vmrpc::notify
