#include "server_process.hpp"

#include "failure.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>

namespace demo {
namespace {

constexpr int kStartMs = 10'000;
constexpr int kEndMs = 2'000;

std::string make_folder() {
    std::string folder = (std::filesystem::temp_directory_path() / "vmrpc-demo-XXXXXX").string();
    if (::mkdtemp(folder.data()) == nullptr)
        throw system_failure(fmt::format("cannot make the folder {}", folder), errno);
    return folder;
}

/// Between fork and exec: becomes the server, which ends with its parent.
[[noreturn]] void become_server(const std::string& address, pid_t parent, int output, const sigset_t& mask) {
    constexpr int cannot_run = 127;
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(cannot_run);
    ::setpgid(0, 0);  // so that Ctrl-C reaches the client alone, which ends the server
    ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
    ::dup2(output, STDOUT_FILENO);
    ::execl("/proc/self/exe", "vmrpc-demo", "serve", "--address", address.c_str(), nullptr);
    ::_exit(cannot_run);
}

/// Of a process that has this id as long as nobody has waited for it.
bool ends_within(pid_t process, int limit_ms) {
    constexpr int step_us = 2'000;
    for (int waited_us = 0; waited_us <= limit_ms * 1'000; waited_us += step_us) {
        if (::waitpid(process, nullptr, WNOHANG) != 0) return true;
        ::usleep(step_us);
    }
    return false;
}

}  // namespace

ServerProcess::ServerProcess() : done_(::eventfd(0, EFD_CLOEXEC)) {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals_, signal);
    ::pthread_sigmask(SIG_BLOCK, &signals_, &mask_before_);
    folder_ = make_folder();
    address_ = "local:" + folder_ + "/rpc.sock";
    try {
        start();
        wait_until_it_serves();
    } catch (...) {
        end();
        throw;
    }
}

void ServerProcess::start() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw system_failure("cannot make a pipe for the server", errno);
    output_ = Descriptor(ends[0]);
    const Descriptor input(ends[1]);
    const pid_t parent = ::getpid();
    server_ = ::fork();
    if (server_ == 0) become_server(address_, parent, input.get(), mask_before_);
    if (server_ < 0) throw system_failure("cannot start the server", errno);
    watcher_ = std::thread([this] { watch_signals(); });
}

ServerProcess::~ServerProcess() {
    end();
    // What was blocked meanwhile takes effect, now that nothing is left behind.
    ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
}

void ServerProcess::wait_until_it_serves() const {
    pollfd said{.fd = output_.get(), .events = POLLIN, .revents = 0};
    const int events = ::poll(&said, 1, kStartMs);
    if (events == 0)
        throw Failure(fmt::format("the server did not start within {} s: is the machine overloaded?", kStartMs / 1000));
    if ((said.revents & POLLIN) == 0) throw Failure("the server could not start: it says why above");
}

void ServerProcess::watch_signals() {
    const Descriptor arriving(::signalfd(-1, &signals_, SFD_CLOEXEC));
    std::array<pollfd, 2> events{
        {{.fd = arriving.get(), .events = POLLIN, .revents = 0}, {.fd = done_.get(), .events = POLLIN, .revents = 0}}};
    while (::poll(events.data(), events.size(), -1) < 0) {
    }
    signalfd_siginfo signal{};
    if (events[0].revents == 0 || ::read(arriving.get(), &signal, sizeof signal) != sizeof signal) return;
    clean_up();
    constexpr int ended_by_signal = 128;
    ::_exit(ended_by_signal + static_cast<int>(signal.ssi_signo));
}

void ServerProcess::end() noexcept {
    constexpr std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(done_.get(), &one, sizeof one);
    if (watcher_.joinable()) watcher_.join();
    clean_up();
}

void ServerProcess::clean_up() noexcept {
    if (server_ > 0) {
        ::kill(server_, SIGTERM);
        if (!ends_within(server_, kEndMs)) {
            ::kill(server_, SIGKILL);
            ::waitpid(server_, nullptr, 0);
        }
        server_ = -1;
    }
    std::error_code error;
    std::filesystem::remove_all(folder_, error);
}

}  // namespace demo
