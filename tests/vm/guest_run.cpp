#include "guest_run.hpp"

#include "guest_image.hpp"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <cstring>
#include <exception>

namespace vmrpc::vm {
namespace {

void read_all(const Descriptor& fd, LineLog& log) {
    std::array<char, 65536> buffer;
    for (;;) {
        const auto bytes = read(fd.get(), buffer.data(), buffer.size());
        if (bytes <= 0) return;
        log.append({buffer.data(), static_cast<std::size_t>(bytes)});
    }
}

int number_in(std::string_view text) {
    int value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

}  // namespace

Guest::Run::Run(GuestOptions options)
    : options_(std::move(options)),
      console_(options_.on_line),
      report_([this](std::string_view line) { take_report(line); }),
      thread_([this] { run(); }) {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return started_; });
}

Guest::Run::~Run() {
    kill();
    thread_.join();
}

void Guest::Run::run() {
    const bool running = start();
    publish(false);
    if (running) {
        pump_until_exit();
        judge();
    }
    console_.finish();
    result_.total_time = elapsed();
    publish(true);
}

void Guest::Run::publish(bool ended) {
    const std::lock_guard lock{mutex_};
    started_ = true;
    ended_ = ended;
    changed_.notify_all();
}

bool Guest::Run::start() {
    const auto program = find_program(options_.qemu);
    if (program.empty()) {
        set(Outcome::kQemuMissing, "no '" + options_.qemu + "' in PATH: apt-get install qemu-system-x86");
        return false;
    }
    try {
        const auto kernel = find_kernel(options_);
        const Descriptor image{build_image(options_)};
        accelerator_ = choose_accelerator(options_.accelerator);
        process_ = start_qemu(qemu_command(program, kernel, options_, accelerator_), image.get());
        qmp_ = std::make_unique<Qmp>(std::move(process_.control));
        return true;
    } catch (const std::exception& error) {
        set(Outcome::kSetupFailed, error.what());
        return false;
    }
}

// The one place where time ends a guest: QEMU itself would run a hanging guest for ever.
void Guest::Run::pump_until_exit() {
    std::array<pollfd, 4> fds{{{process_.pidfd.get(), POLLIN, 0},
                               {process_.output.get(), POLLIN, 0},
                               {process_.errors.get(), POLLIN, 0},
                               {process_.report.get(), POLLIN, 0}}};
    while ((fds[0].revents & POLLIN) == 0) {
        const auto left = options_.limit - elapsed();
        if (left.count() <= 0 && !timed_out_) {
            timed_out_ = true;
            kill_process(process_.pidfd);
        }
        poll(fds.data(), fds.size(), timed_out_ ? -1 : static_cast<int>(std::min<long>(left.count() + 1, 1'000'000)));
        drain();
        for (auto& fd : fds)
            if ((fd.revents & POLLHUP) != 0) fd.fd = -1;  // at its end it would be ready all the time
    }
    drain();
    errors_.finish();
}

void Guest::Run::drain() {
    read_all(process_.report, report_);
    read_all(process_.output, console_);
    read_all(process_.errors, errors_);
}

void Guest::Run::take_report(std::string_view line) {
    const auto word = line.substr(0, line.find(' '));
    const auto rest = line.substr(std::min(line.size(), word.size() + 1));
    if (word == "ready") begin_boot();
    if (word == "exit") result_.statuses.push_back({number_in(rest), 0});
    if (word == "signal") result_.statuses.push_back({0, number_in(rest)});
    if (word == "failed") result_.message = "in the guest: " + std::string{rest};
    if (word == "done") orderly_ = true;
}

void Guest::Run::begin_boot() {
    if (result_.boots++ == 0) result_.boot_time = elapsed();
    result_.statuses.clear();
}

void Guest::Run::judge() {
    siginfo_t info{};
    waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(process_.pidfd.get()), &info, WEXITED);
    const std::unique_lock lock{mutex_};
    const bool kill_asked = kill_asked_;
    if (timed_out_) {
        set(Outcome::kTimedOut, "the guest did not end within its limit of " + std::to_string(options_.limit.count()) +
                                    " ms" + last_line());
    } else if (kill_asked) {
        set(Outcome::kKilled, "the guest was killed");
    } else if (info.si_code == CLD_EXITED) {
        judge_exit_code(info.si_status);
    } else {
        const bool kill_signal = info.si_status == SIGKILL || info.si_status == SIGTERM;
        set(kill_signal ? Outcome::kKilled : Outcome::kQemuFailed,
            std::string{"QEMU was ended by a signal: "} + strsignal(info.si_status) + "\n" + errors_.text());
    }
}

void Guest::Run::judge_exit_code(int code) {
    if (code == kOrderlyExit && orderly_) {
        const auto failed = std::find_if(result_.statuses.begin(), result_.statuses.end(),
                                         [](const CommandStatus& status) { return status.as_shell() != 0; });
        result_.status = failed == result_.statuses.end() ? 0 : failed->as_shell();
        set(Outcome::kExited, "");
    } else if (code == kOrderlyExit) {
        set(Outcome::kSetupFailed, result_.message);
    } else if (const auto signal = errors_.find_last("terminating on signal")) {
        set(Outcome::kKilled, *signal);
    } else if (code == 0) {
        set(Outcome::kNoStatus,
            console_.find_last("Kernel panic").value_or("the guest ended before its commands had" + last_line()));
    } else {
        set(Outcome::kQemuFailed, "QEMU ended with status " + std::to_string(code) + ": " + errors_.text());
    }
}

std::string Guest::Run::last_line() const {
    const auto line = console_.find_last("");
    return line ? "; its last line: " + *line : "; it printed nothing";
}

void Guest::Run::set(Outcome outcome, std::string message) {
    result_.outcome = outcome;
    result_.message = std::move(message);
}

std::chrono::milliseconds Guest::Run::elapsed() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin_);
}

std::optional<GuestResult> Guest::Run::wait_until(std::optional<Clock::time_point> deadline) {
    std::unique_lock lock{mutex_};
    const auto ended = [this] { return ended_; };
    if (!deadline)
        changed_.wait(lock, ended);
    else if (!changed_.wait_until(lock, *deadline, ended))
        return std::nullopt;
    return result_;
}

QmpReply Guest::Run::qmp(const std::string& command, const std::string& arguments, std::chrono::milliseconds limit) {
    if (qmp_ == nullptr) return {.result = {}, .error = "QEMU was not started"};
    return qmp_->run(command, arguments, limit);
}

void Guest::Run::kill() {
    const std::lock_guard lock{mutex_};
    if (ended_ || process_.pid < 0) return;
    kill_asked_ = true;
    kill_process(process_.pidfd);
}

}  // namespace vmrpc::vm
