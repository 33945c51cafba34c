#include "support/interrupt.hpp"

#include "base/clock.hpp"

#include <poll.h>
#include <signal.h>

#include <array>
#include <cerrno>
#include <system_error>

namespace vmrpc::bench {
namespace {

constexpr std::array kSignals{SIGINT, SIGTERM, SIGHUP};

sigset_t signal_set() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : kSignals) sigaddset(&set, signal);
    return set;
}

}  // namespace

// The signals are blocked except while ppoll() waits: none can fall between a check and the wait.
void catch_interrupts() {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    for (const int signal : kSignals) ::sigaction(signal, &action, nullptr);
    const sigset_t set = signal_set();
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
}

void ignore_interrupts() {
    for (const int signal : kSignals) ::signal(signal, signal == SIGINT ? SIG_IGN : SIG_DFL);
    const sigset_t set = signal_set();
    ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

void wait_readable(int descriptor, std::int64_t until_ns) {
    const std::int64_t left_ns = until_ns - base::now_ns();
    if (left_ns <= 0) throw Stopped("the time limit has passed");
    const timespec left{.tv_sec = left_ns / 1'000'000'000, .tv_nsec = left_ns % 1'000'000'000};
    sigset_t none;
    sigemptyset(&none);
    pollfd polled{.fd = descriptor, .events = POLLIN, .revents = 0};
    const int ready = ::ppoll(&polled, 1, &left, &none);
    if (ready == 0) throw Stopped("the time limit has passed");
    if (ready < 0 && errno == EINTR) throw Stopped("interrupted");
    if (ready < 0) throw std::system_error(errno, std::generic_category(), "cannot wait for a child");
}

}  // namespace vmrpc::bench
