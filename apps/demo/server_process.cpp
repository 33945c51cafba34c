#include "server_process.hpp"

#include "failure.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <utility>
#include <vector>

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
[[noreturn]] void become_server(char* const* arguments, pid_t parent, int output, const sigset_t& mask) {
    constexpr int cannot_run = 127;
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(cannot_run);
    ::setpgid(0, 0);  // so that Ctrl-C reaches the client alone, which ends the server
    ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
    ::dup2(output, STDOUT_FILENO);
    ::execv("/proc/self/exe", arguments);
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

ServerProcess::ServerProcess(Clients clients) : clients_(clients), done_(::eventfd(0, EFD_CLOEXEC)) {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals_, signal);
    ::pthread_sigmask(SIG_BLOCK, &signals_, &mask_before_);
    folder_ = make_folder();
    address_ = clients == Clients::kHere ? fmt::format("local:{}/rpc.sock", folder_) : "vm:" + folder_;
    try {
        if (clients == Clients::kInGuest) make_vm();
        start();
        wait_until_it_serves();
    } catch (...) {
        end();
        throw;
    }
}

/// Before the server looks for it: then all its sockets are there when it says that it serves.
void ServerProcess::make_vm() {
    tool::VmWishes wishes;
    wishes.address = address_ + "?memory=dax&ring=doorbell";
    wishes.name = "demo";
    vm_ = tool::settle(wishes);
}

void ServerProcess::start() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw system_failure("cannot make a pipe for the server", errno);
    output_ = Descriptor(ends[0]);
    const Descriptor input(ends[1]);
    std::vector<std::string> words{"vmrpc-demo", "serve", "--address", address_};
    if (clients_ == Clients::kInGuest) words.insert(words.end(), {"--echo-tcp", "0"});
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const pid_t parent = ::getpid();
    server_ = ::fork();
    if (server_ == 0) become_server(arguments.data(), parent, input.get(), mask_before_);
    if (server_ < 0) throw system_failure("cannot start the server", errno);
    watcher_ = std::thread([this] { watch_signals(); });
}

ServerProcess::~ServerProcess() {
    end();
    // What was blocked meanwhile takes effect, now that nothing is left behind.
    ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
}

void ServerProcess::wait_until_it_serves() {
    pollfd said{.fd = output_.get(), .events = POLLIN, .revents = 0};
    const int events = ::poll(&said, 1, kStartMs);
    if (events == 0)
        throw Failure(fmt::format("the server did not start within {} s: is the machine overloaded?", kStartMs / 1000));
    if ((said.revents & POLLIN) == 0) throw Failure("the server could not start: it says why above");
    read_first_line();
}

/// It ends with the echo's address. The server writes it at once.
void ServerProcess::read_first_line() {
    std::array<char, 4096> buffer{};
    const ssize_t bytes = ::read(output_.get(), buffer.data(), buffer.size());
    const std::string text(buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(bytes, 0)));
    if (clients_ == Clients::kInGuest)
        echo_port_ = text.substr(text.rfind(':') + 1, text.rfind('\n') - text.rfind(':') - 1);
}

void ServerProcess::on_signal(std::function<void()> first) {
    const std::lock_guard lock(mutex_);
    on_signal_ = std::move(first);
}

void ServerProcess::watch_signals() {
    const Descriptor arriving(::signalfd(-1, &signals_, SFD_CLOEXEC));
    std::array<pollfd, 2> events{
        {{.fd = arriving.get(), .events = POLLIN, .revents = 0}, {.fd = done_.get(), .events = POLLIN, .revents = 0}}};
    while (::poll(events.data(), events.size(), -1) < 0) {
    }
    signalfd_siginfo signal{};
    if (events[0].revents == 0 || ::read(arriving.get(), &signal, sizeof signal) != sizeof signal) return;
    const std::lock_guard lock(mutex_);  // kept: who would withdraw what runs now waits for the end
    if (on_signal_) on_signal_();
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
