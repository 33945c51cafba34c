#include "notify/fork_guard.hpp"

#include <pthread.h>

#include <array>
#include <atomic>

namespace vmrpc::notify {

constinit std::atomic<std::uint32_t> detail::generation{1};

namespace {

// All constant-initialized and trivially destroyed: usable before main and after it.
constinit std::array<std::mutex, 4> locks;
constinit GuardedFd::Entry* all_guarded = nullptr;  // guarded by ForkLock::kDescriptors

void before_fork() {
    for (std::mutex& lock : locks) lock.lock();
}

void unlock_all() {
    for (std::mutex& lock : locks) lock.unlock();
}

// Async-signal-safe, as POSIX wants it in the child of a process with threads: no allocation, no log.
void in_child() {
    detail::generation.fetch_add(1, std::memory_order_relaxed);
    for (GuardedFd::Entry* entry = all_guarded; entry != nullptr; entry = entry->behind) {
        ::close(entry->descriptor);
        entry->descriptor = -1;  // the number may be another file's soon: the entry's owner must not close it
    }
    unlock_all();
}

// At start and not at first use, so that no fork can fall into the middle of it.
[[maybe_unused]] const int installed = ::pthread_atfork(before_fork, unlock_all, in_child);

}  // namespace

std::mutex& fork_lock(ForkLock which) noexcept {
    return locks[static_cast<std::size_t>(which)];
}

GuardedFd GuardedFd::adopt_locked(base::Fd descriptor) {
    if (!descriptor.valid()) return {};
    auto* entry = new Entry{descriptor.get(), nullptr, all_guarded};
    if (all_guarded != nullptr) all_guarded->before = entry;
    all_guarded = entry;
    static_cast<void>(descriptor.release());
    return GuardedFd(entry);
}

GuardedFd& GuardedFd::operator=(GuardedFd&& other) noexcept {
    if (this != &other) {
        reset();
        entry_ = std::exchange(other.entry_, nullptr);
    }
    return *this;
}

void GuardedFd::reset() noexcept {
    Entry* entry = std::exchange(entry_, nullptr);
    if (entry == nullptr) return;
    {
        // Closed under the lock: a fork in between would close the number in the child, whose it may be by then.
        const std::lock_guard lock(fork_lock(ForkLock::kDescriptors));
        if (entry->descriptor >= 0) ::close(entry->descriptor);
        if (entry->before != nullptr) entry->before->behind = entry->behind;
        if (entry->behind != nullptr) entry->behind->before = entry->before;
        if (all_guarded == entry) all_guarded = entry->behind;
    }
    delete entry;
}

}  // namespace vmrpc::notify
