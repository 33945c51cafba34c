#include "notify/waiters.hpp"

#include "notify/futex.hpp"

namespace vmrpc::notify {

bool Waiters::wait(Waiter& waiter, base::Deadline deadline) {
    {
        const std::scoped_lock lock(mutex_);
        if (leader_ == nullptr)
            leader_ = &waiter;
        else
            followers_.push_back(&waiter);
    }
    // A follower that joins after the leader's last look must find its own reply here, or the server must find the
    // leader's new generation: this fence pairs with the server's between reply and ring-me load.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    for (;;) {
        // acquire: pairs with wake()'s release, and is loaded before the checks so that no wake-up falls between
        const std::uint32_t signal = waiter.signal.load(std::memory_order_acquire);
        // acquire: pairs with interrupt()'s store
        if (waiter.ready() || interrupted_.load(std::memory_order_acquire) || deadline.passed()) break;
        bool leads = false;
        {
            const std::scoped_lock lock(mutex_);
            leads = leader_ == &waiter;
        }
        if (leads)
            lead(waiter, deadline);
        else
            futex_wait(&waiter.signal, signal, deadline, FutexScope::kPrivate);
    }
    leave(waiter);
    return waiter.ready();
}

void Waiters::lead(Waiter& waiter, base::Deadline deadline) {
    // Taken before arming: any ring that arming causes changes the word from this value.
    const std::uint32_t seen = rung_.count.load_acquire();
    ring_me_.generation.store_relaxed(++generation_);
    // Arm, then look: pairs with the server's fence between publishing a reply and reading the generation. Either the
    // server sees the new generation and rings, or the look below sees the reply.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    wake_ready_followers();
    if (waiter.ready() || interrupted_.load(std::memory_order_acquire)) return;
    sleeper_.wait(seen, deadline);
}

void Waiters::wake_ready_followers() {
    const std::scoped_lock lock(mutex_);
    for (Waiter* follower : followers_) {
        if (follower->ready()) wake(*follower);
    }
}

void Waiters::leave(Waiter& waiter) {
    const std::scoped_lock lock(mutex_);
    if (leader_ != &waiter) {
        followers_.remove(&waiter);
        return;
    }
    leader_ = nullptr;
    if (followers_.empty()) return;
    leader_ = followers_.front();
    followers_.pop_front();
    wake(*leader_);
}

// Under mutex_: a waiter takes it to leave, so its memory is alive here.
void Waiters::wake(Waiter& waiter) {
    waiter.signal.fetch_add(1, std::memory_order_release);
    futex_wake_all(&waiter.signal, FutexScope::kPrivate);
}

void Waiters::interrupt() {
    interrupted_.store(true, std::memory_order_seq_cst);
    look_again();
}

void Waiters::look_again() {
    sleeper_.interrupt_wait();
    const std::scoped_lock lock(mutex_);
    for (Waiter* follower : followers_) wake(*follower);
}

}  // namespace vmrpc::notify
