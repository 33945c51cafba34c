// vmrpc-vm: the class Guest on the command line.
#include "guest.hpp"
#include "vm_options.hpp"

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cstdio>
#include <thread>

namespace vmrpc::vm {
namespace {

// Turns Ctrl-C and SIGTERM into the guest's orderly end. (Even SIGKILL leaves no QEMU; but then it may end a moment
// after this program.) SIGUSR1 is our own, to end the thread.
class SignalWatch {
  public:
    SignalWatch() {
        sigemptyset(&signals_);
        for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) sigaddset(&signals_, signal);
        pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    }

    // Blocks until the guest has ended. Returns the signal that ended it, 0 if none did.
    int wait(Guest& guest) {
        int caught = 0;
        std::thread thread{[&] {
            sigwait(&signals_, &caught);
            if (caught != SIGUSR1) guest.kill();
        }};
        guest.wait();
        pthread_kill(thread.native_handle(), SIGUSR1);
        thread.join();
        return caught == SIGUSR1 ? 0 : caught;
    }

  private:
    sigset_t signals_;
};

void print_line(std::string_view line) {
    std::printf("%.*s\n", static_cast<int>(line.size()), line.data());
    std::fflush(stdout);
}

void print_end(const GuestResult& result) {
    std::fprintf(stderr, "vmrpc-vm: %s", to_string(result.outcome));
    if (result.outcome == Outcome::kExited) std::fprintf(stderr, " with %d", result.status);
    if (!result.message.empty()) std::fprintf(stderr, ": %s", result.message.c_str());
    std::fprintf(stderr, " (booted in %lld ms, %lld ms in all)\n", static_cast<long long>(result.boot_time.count()),
                 static_cast<long long>(result.total_time.count()));
}

int run(ProgramOptions options) {
    SignalWatch signals;  // before the guest's thread, which inherits what is blocked
    options.guest.on_line = print_line;
    Guest guest{std::move(options.guest)};
    if (!options.quiet && guest.qemu_pid() > 0)
        std::fprintf(stderr, "vmrpc-vm: %s; QEMU is process %d\n", guest.accelerator().c_str(), guest.qemu_pid());
    const int signal = signals.wait(guest);
    const auto result = guest.wait();
    if (!options.quiet || result.outcome != Outcome::kExited) print_end(result);
    return signal != 0 && result.outcome == Outcome::kKilled ? 128 + signal : result.exit_code();
}

int vm_main(int argc, char** argv) {
    int exit_code = 0;
    auto options = parse_command_line(argc, argv, exit_code);
    return options ? run(std::move(*options)) : exit_code;
}

}  // namespace
}  // namespace vmrpc::vm

int main(int argc, char** argv) {
    return vmrpc::vm::vm_main(argc, argv);
}
