#include "transport/vm/client_link.hpp"

#include "transport/memfd_pages.hpp"

#include <sched.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
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
    if (parts_.interrupt.descriptor.valid()) {
        auto interrupts = InterruptWait::make(std::move(parts_.interrupt));
        if (!interrupts) return tl::unexpected(std::move(interrupts).error());
        interrupts_ = std::move(*interrupts);
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
    // Nobody sleeps for ever: a doorbell that has gone, or a server that was killed, rings nobody.
    if (interrupts_ != nullptr) interrupts_->wake_who_sleeps();
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
    while (interrupts_ != nullptr && !interrupts_->has_hung_up()) {
        if (is_over(seen) || deadline.passed()) return;
        if (!server_is_open()) look_soon();  // reporting is the housekeeper's, which then ends this wait
        interrupts_->wait(deadline);
    }
    look_until_over(seen, deadline);
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
    // Who waits for an interrupt does not look at the word.
    if (interrupts_ != nullptr) interrupts_->wake();
}

}  // namespace vmrpc::transport::vm
