#include "guest.hpp"

#include "guest_run.hpp"

namespace vmrpc::vm {

const char* to_string(Outcome outcome) {
    switch (outcome) {
        case Outcome::kExited:
            return "exited";
        case Outcome::kTimedOut:
            return "timed out";
        case Outcome::kNoStatus:
            return "ended without a status";
        case Outcome::kSetupFailed:
            return "set-up failed";
        case Outcome::kQemuMissing:
            return "QEMU is missing";
        case Outcome::kQemuFailed:
            return "QEMU failed";
        case Outcome::kKilled:
            return "killed";
    }
    return "unknown";
}

int GuestResult::exit_code() const {
    switch (outcome) {
        case Outcome::kExited:
            return status;
        case Outcome::kNoStatus:
            return 123;
        case Outcome::kTimedOut:
            return 124;
        case Outcome::kSetupFailed:
            return 125;
        case Outcome::kQemuFailed:
            return 126;
        case Outcome::kQemuMissing:
            return 127;
        case Outcome::kKilled:
            return 137;
    }
    return 125;
}

Guest::Guest(GuestOptions options) : run_(std::make_unique<Run>(std::move(options))) {}

Guest::~Guest() = default;

GuestResult Guest::wait() {
    return *run_->wait_until(std::nullopt);
}

std::optional<GuestResult> Guest::wait_for(std::chrono::milliseconds timeout) {
    return run_->wait_until(std::chrono::steady_clock::now() + timeout);
}

std::optional<std::string> Guest::wait_for_line(const std::regex& pattern, std::chrono::milliseconds timeout) {
    return run_->console().wait_for(pattern, timeout);
}

std::string Guest::output() const {
    return run_->console().text();
}

void Guest::kill() {
    run_->kill();
}

QmpReply Guest::qmp(const std::string& command, const std::string& arguments, std::chrono::milliseconds limit) {
    return run_->qmp(command, arguments, limit);
}

pid_t Guest::qemu_pid() const {
    return run_->qemu_pid();
}

std::string Guest::accelerator() const {
    return run_->accelerator();
}

}  // namespace vmrpc::vm
