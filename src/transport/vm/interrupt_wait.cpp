#include "transport/vm/interrupt_wait.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <utility>

namespace vmrpc::transport::vm {

base::Result<std::unique_ptr<InterruptWait>> InterruptWait::make(Interrupt interrupt) {
    auto wait = std::make_unique<InterruptWait>();
    wait->rings_ = std::move(interrupt.descriptor);
    if (interrupt.ring_vector != kRungByStream) return wait;
    wait->wakes_ = notify::GuardedFd::made_by([] { return ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); });
    if (!wait->wakes_.valid()) return base::fail_errno("cannot make an eventfd", errno);
    return wait;
}

void InterruptWait::wait(base::Deadline deadline) noexcept {
    sleeps_.store(true, std::memory_order_relaxed);
    std::uint64_t count = 0;
    // An eventfd that does not block says EAGAIN.
    if (wakes_.valid() || !deadline.is_never() || (::read(rings_.get(), &count, sizeof count) < 0 && errno == EAGAIN))
        poll_until(deadline);
    sleeps_.store(false, std::memory_order_relaxed);
}

void InterruptWait::poll_until(base::Deadline deadline) noexcept {
    std::array<pollfd, 2> watched{pollfd{rings_.get(), POLLIN, 0}, pollfd{wakes_.get(), POLLIN, 0}};
    const std::int64_t left_ns = deadline.is_never() ? 0 : deadline.remaining_ns();
    const timespec left{.tv_sec = left_ns / 1'000'000'000, .tv_nsec = static_cast<long>(left_ns % 1'000'000'000)};
    if (::ppoll(watched.data(), wakes_.valid() ? 2 : 1, deadline.is_never() ? nullptr : &left, nullptr) <= 0) return;
    if (watched[0].revents != 0) take_rings();
    std::uint64_t count = 0;
    if (watched[1].revents != 0) static_cast<void>(!::read(wakes_.get(), &count, sizeof count));
}

/// Only so that it can be rung again. A stream may have ended, a port may have been taken from the VM.
void InterruptWait::take_rings() noexcept {
    std::array<std::byte, 64> rings{};
    const ssize_t count = ::read(rings_.get(), rings.data(), rings.size());
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) has_hung_up_ = true;
}

void InterruptWait::wake() noexcept {
    const std::uint64_t one = 1;
    // What can fail (the counter is full) means that it will wake already.
    static_cast<void>(!::write(wakes_.valid() ? wakes_.get() : rings_.get(), &one, sizeof one));
}

void InterruptWait::wake_who_sleeps() noexcept {
    if (sleeps_.load(std::memory_order_relaxed)) wake();
}

}  // namespace vmrpc::transport::vm
