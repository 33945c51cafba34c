// What a forked child must not keep, and the locks that a fork must not tear.
//
// A child that kept a copy of a connection's socket would hide its parent's death from the peer. So every descriptor
// of the library is a GuardedFd, and a pthread_atfork handler closes all of them in the child. Objects that the child
// has copied are dead: process_generation() tells them so. The child may use the library anew.
#pragma once

#include "base/fd.hpp"

#include <atomic>
#include <cstdint>
#include <mutex>
#include <utility>

namespace vmrpc::notify {

namespace detail {
extern std::atomic<std::uint32_t> generation;
}

/// Grows by one in each forked child. An object that remembers another value was made by a parent of this process: its
/// descriptors are closed, its mappings and threads do not exist here. Any thread.
[[nodiscard]] inline std::uint32_t process_generation() noexcept {
    // relaxed: written in a child before it has threads
    return detail::generation.load(std::memory_order_relaxed);
}

/// Locks that fork() takes in this order before it copies the process, so that the child finds them free and what they
/// guard whole. Whoever takes two takes them in this order, holds them briefly, and does not fork meanwhile.
enum class ForkLock : std::uint32_t {
    kHousekeeper = 0,
    kMappings = 1,
    kDescriptors = 2,
    kHandles = 3,
};
[[nodiscard]] std::mutex& fork_lock(ForkLock which) noexcept;

/// An owned descriptor that a forked child does not keep; move-only. In the child it becomes "none" (-1).
/// Threads: one object is for one thread at a time, get() for any number.
class GuardedFd {
  public:
    GuardedFd() = default;
    GuardedFd(GuardedFd&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
    GuardedFd& operator=(GuardedFd&& other) noexcept;
    GuardedFd(const GuardedFd&) = delete;
    GuardedFd& operator=(const GuardedFd&) = delete;
    ~GuardedFd() { reset(); }

    /// Calls `make`, which returns a new descriptor or -1 with errno, while no fork can come between the descriptor's
    /// birth and its registration. `make` must not block. errno is left as `make` left it.
    template <class Make>
    [[nodiscard]] static GuardedFd made_by(const Make& make) {
        const std::lock_guard lock(fork_lock(ForkLock::kDescriptors));
        return adopt_locked(base::Fd(make()));
    }
    /// Takes a descriptor over. Requires that the caller holds ForkLock::kDescriptors since before it was made.
    [[nodiscard]] static GuardedFd adopt_locked(base::Fd descriptor);

    [[nodiscard]] int get() const noexcept { return entry_ == nullptr ? -1 : entry_->descriptor; }
    [[nodiscard]] bool valid() const noexcept { return get() >= 0; }
    void reset() noexcept;

    /// One element of the list of all guarded descriptors; known here only to the atfork handlers.
    struct Entry {
        int descriptor;
        Entry* before;
        Entry* behind;
    };

  private:
    explicit GuardedFd(Entry* entry) : entry_(entry) {}
    Entry* entry_ = nullptr;
};

}  // namespace vmrpc::notify
