// Serves the functions of hello.hpp from a loop of its own, beside other things that it waits for, here signals and a
// timer: hello_epoll_server [ADDRESS]. `mean` may take its time, so it runs on a worker.
#include "../hello_cpp/hello.hpp"

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <numeric>

double mean(std::span<const double> values) {
    const double sum = std::accumulate(values.begin(), values.end(), 0.0);
    return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

void advance(std::int64_t& counter, std::int64_t step) {
    counter += step;
}

vmrpc::Array<std::uint64_t> squares(std::uint32_t count) {
    auto numbers = vmrpc::make_array<std::uint64_t>(count).value();
    for (std::uint64_t i = 0; i < count; ++i) numbers[i] = i * i;
    return numbers;
}

namespace {

/// SIGINT and SIGTERM as something to wait for. To be called before there are threads.
int open_signals() {
    sigset_t signals;
    ::sigemptyset(&signals);
    for (const int signal : {SIGINT, SIGTERM}) ::sigaddset(&signals, signal);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    return ::signalfd(-1, &signals, SFD_CLOEXEC);
}

int open_timer() {
    const int timer = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    const itimerspec each_second{.it_interval = {1, 0}, .it_value = {1, 0}};
    ::timerfd_settime(timer, 0, &each_second, nullptr);
    return timer;
}

void watch(int epoll, int descriptor) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = descriptor}};
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}

/// Until the server has stopped, and answered what it had taken.
vmrpc::Error serve(vmrpc::Server& server, int signals) {
    const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
    const int timer = open_timer();
    for (const int each : {signals, timer, server.descriptor()}) watch(epoll, each);
    for (std::uint64_t seconds = 0, calls = 0;;) {
        auto taken = server.poll();
        while (taken && *taken != 0) {
            calls += *taken;
            taken = server.poll();
        }
        if (!taken) {
            ::close(timer);
            ::close(epoll);
            std::printf("%ju requests in %ju seconds\n", std::uintmax_t{calls}, std::uintmax_t{seconds});
            return taken.error();
        }
        epoll_event event{};
        if (::epoll_wait(epoll, &event, 1, -1) != 1) continue;
        signalfd_siginfo signal{};
        if (event.data.fd == signals && ::read(signals, &signal, sizeof signal) == sizeof signal) server.stop();
        std::uint64_t ticks = 0;
        if (event.data.fd == timer && ::read(timer, &ticks, sizeof ticks) == sizeof ticks) seconds += ticks;
    }
}

}  // namespace

int main(int argc, char** argv) {
    const char* address = argc > 1 ? argv[1] : "local:/tmp/vmrpc-hello.sock";
    const int signals = open_signals();
    vmrpc::Server server(address, {.workers = 2});
    server.add<mean>({.pooled = true});
    server.add<advance>();
    server.add<squares>();
    if (server.status()) {
        std::printf("serving at %s\n", address);
        std::fflush(stdout);
    }
    const vmrpc::Error ending = serve(server, signals);
    ::close(signals);
    if (ending.status == VMRPC_SHUTTING_DOWN) return 0;
    std::fprintf(stderr, "cannot serve at %s: %s\n", address, ending.message().c_str());
    return 1;
}
