#include "transport/vm/client_link.hpp"

#include "transport/memfd_pages.hpp"

#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace vmrpc::transport::vm {
namespace {

/// Between two looks at whether the server has ended, which rings nobody.
constexpr long kLookNs = 200'000'000;
constexpr int kYields = 8;
constexpr std::int64_t kFirstSleepNs = 2'000;
constexpr std::int64_t kLongestSleepNs = 1'000'000;

std::unique_ptr<heap::Pages> pages_here(const Board& board, std::uint32_t flags) {
    return board.is_file ? pages_of(board.place(), board.window->base(), flags) : nullptr;
}

}  // namespace

VmClientLink::VmClientLink(ClientLinkParts parts, ClientEvents& events)
    : parts_(std::move(parts)), pages_(pages_here(*parts_.board, parts_.plan.flags)), events_(events) {}

VmClientLink::~VmClientLink() {
    timer_watch_.reset();  // first, so that nothing below is used any more
    parts_.board->window->unmap(parts_.region);
    parts_.claim.reset();
}

layout::ControlPage& VmClientLink::control() const {
    return *reinterpret_cast<layout::ControlPage*>(segment() + parts_.plan.region_offset);
}

bool VmClientLink::server_is_open() const {
    // acquire: pairs with the release of the server, or its sentinel, after status and text
    return control().server.state.load_acquire() == static_cast<std::uint32_t>(layout::RegionState::kOpen);
}

base::Status VmClientLink::watch_server() {
    if (parts_.interrupt.valid()) {
        wake_ = notify::GuardedFd::made_by([] { return ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); });
        if (!wake_.valid()) return base::fail_errno("cannot make an eventfd", errno);
    }
    timer_ = notify::GuardedFd::made_by([] { return ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC); });
    if (!timer_.valid()) return base::fail_errno("cannot make a timer", errno);
    look_soon();
    auto watch = notify::watch(timer_.get(), EPOLLIN, [this](std::uint32_t) { look(); });
    if (!watch) return tl::unexpected(std::move(watch).error());
    timer_watch_ = std::move(*watch);
    return {};
}

/// Makes the housekeeper look at once, and then again and again.
void VmClientLink::look_soon() noexcept {
    const itimerspec times{.it_interval = {.tv_sec = 0, .tv_nsec = kLookNs}, .it_value = {.tv_sec = 0, .tv_nsec = 1}};
    ::timerfd_settime(timer_.get(), 0, &times, nullptr);
}

void VmClientLink::look() {
    std::uint64_t expiries = 0;
    static_cast<void>(!::read(timer_.get(), &expiries, sizeof expiries));  // without it the timer does not run on
    if (server_is_open() || ended_.exchange(true)) return;
    interrupt_wait();
    events_.lost();  // last: it may destroy this link
}

bool VmClientLink::is_over(std::uint32_t seen) noexcept {
    // acquire: pairs with the release of whoever rings
    return control().rung[layout::index_of(layout::Side::kClient)].count.load_acquire() != seen || ended_.load();
}

void VmClientLink::ring() noexcept {
    if (parts_.rings_doorbell)
        parts_.board->doorbell->ring(kRequestVector);
    else
        rung_.store(control().rung[layout::index_of(layout::Side::kServer)]);
}

void VmClientLink::wait(std::uint32_t seen, base::Deadline deadline) noexcept {
    while (parts_.interrupt.valid() && !hung_up_) {
        if (is_over(seen) || deadline.passed()) return;
        if (!server_is_open()) look_soon();  // reporting is the housekeeper's, which then ends this wait
        wait_for_interrupt(deadline.is_never() ? kLookNs : std::min<std::int64_t>(kLookNs, deadline.remaining_ns()));
    }
    look_until_over(seen, deadline);
}

/// Not for ever: a doorbell that has gone, or a server that was killed, rings nobody.
void VmClientLink::wait_for_interrupt(std::int64_t most_ns) noexcept {
    std::array<pollfd, 2> watched{pollfd{parts_.interrupt.get(), POLLIN, 0}, pollfd{wake_.get(), POLLIN, 0}};
    const timespec most{.tv_sec = most_ns / 1'000'000'000, .tv_nsec = static_cast<long>(most_ns % 1'000'000'000)};
    if (::ppoll(watched.data(), watched.size(), &most, nullptr) <= 0) return;
    // Read only so that it can be rung again. A stream may have ended.
    std::array<std::byte, 64> rings{};
    if (watched[0].revents != 0 && ::read(parts_.interrupt.get(), rings.data(), rings.size()) == 0) hung_up_ = true;
    if (watched[1].revents != 0) static_cast<void>(!::read(wake_.get(), rings.data(), sizeof(std::uint64_t)));
}

/// For who is not rung.
void VmClientLink::look_until_over(std::uint32_t seen, base::Deadline deadline) noexcept {
    for (int i = 0; i < kYields; ++i) {
        if (is_over(seen)) return;
        ::sched_yield();
    }
    bool told = false;
    for (std::int64_t sleep_ns = kFirstSleepNs; !is_over(seen) && !deadline.passed();
         sleep_ns = std::min(2 * sleep_ns, kLongestSleepNs)) {
        // Reporting is the housekeeper's, which then ends this wait.
        if (!server_is_open() && !std::exchange(told, true)) look_soon();
        const std::int64_t left_ns = deadline.is_never() ? kLongestSleepNs : deadline.remaining_ns();
        const timespec pause{.tv_sec = 0, .tv_nsec = static_cast<long>(std::min(sleep_ns, left_ns))};
        ::clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, nullptr);
    }
}

void VmClientLink::interrupt_wait() noexcept {
    interrupt_.store(control().rung[layout::index_of(layout::Side::kClient)]);
    const std::uint64_t one = 1;
    // Who waits for an interrupt does not look at the word.
    if (wake_.valid()) static_cast<void>(!::write(wake_.get(), &one, sizeof one));
}

}  // namespace vmrpc::transport::vm
