#include "transport/vm/looker.hpp"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace vmrpc::transport::vm {

base::Status Looker::start(std::function<Pace()> look) {
    look_ = std::move(look);
    timer_ = notify::GuardedFd::made_by([] { return ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC); });
    if (!timer_.valid()) return base::fail_errno("cannot make a timer", errno);
    auto watch = notify::watch(timer_.get(), EPOLLIN, [this](std::uint32_t) { on_timer(); });
    if (!watch) return tl::unexpected(std::move(watch).error());
    watch_ = std::move(*watch);
    set_timer(1);
    return {};
}

void Looker::on_timer() {
    std::uint64_t expiries = 0;
    static_cast<void>(!::read(timer_.get(), &expiries, sizeof expiries));
    const Pace pace = look_();
    constexpr auto least = static_cast<std::int64_t>(Pace::kBusy);
    delay_ns_ = std::clamp(2 * delay_ns_, least, static_cast<std::int64_t>(pace));
    set_timer(delay_ns_);
}

void Looker::set_timer(std::int64_t delay_ns) const {
    const itimerspec once{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = static_cast<long>(delay_ns)}};
    ::timerfd_settime(timer_.get(), 0, &once, nullptr);
}

}  // namespace vmrpc::transport::vm
