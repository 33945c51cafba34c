#include "support/child.hpp"

#include "support/interrupt.hpp"
#include "support/pin.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <system_error>

namespace vmrpc::bench {
namespace {

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

void live(int cpu, pid_t parent, const Report& report, const std::function<void(const Report&)>& body) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) return;  // it died before the line above
    ignore_interrupts();
    pin_to(cpu);
    body(report);
}

}  // namespace

void Report::send_bytes(const void* message, std::size_t bytes) const {
    if (::write(pipe_.get(), message, bytes) != static_cast<ssize_t>(bytes)) fail("cannot report to the parent");
}

Child::Child(int cpu, const std::function<void(const Report&)>& body) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail("cannot make a pipe");
    pipe_.reset(ends[0]);
    Report report{base::Fd(ends[1])};
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ < 0) fail("cannot fork");
    if (pid_ != 0) return;
    try {
        live(cpu, parent, report, body);
        ::_exit(0);
    } catch (const std::exception& exception) {
        fmt::print(stderr, "{}\n", exception.what());
        ::_exit(1);
    }
}

Child::~Child() {
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
}

void Child::receive_bytes(void* message, std::size_t bytes, std::int64_t until_ns) const {
    wait_readable(pipe_.get(), until_ns);
    const ssize_t got = ::read(pipe_.get(), message, bytes);
    if (got < 0) fail("cannot read what a child reports");
    if (got != static_cast<ssize_t>(bytes)) throw std::runtime_error(fmt::format("process {} failed", pid_));
}

std::int64_t cpu_time_ns(pid_t process) {
    clockid_t clock{};
    timespec time{};
    if (const int error = ::clock_getcpuclockid(process, &clock); error != 0)
        throw std::system_error(error, std::generic_category(), "cannot measure a process's CPU time");
    if (::clock_gettime(clock, &time) != 0) fail("cannot measure a process's CPU time");
    return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

}  // namespace vmrpc::bench
