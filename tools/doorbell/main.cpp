// vmrpc-doorbell: holds a guest's ivshmem device, so that several processes can be interrupted through it.
//
//     vmrpc-doorbell [--stay] PCI_ADDRESS
//
// The kernel lets one process alone open a device through VFIO. This one does, binds the device to the driver vfio-pci
// if it has another one or none (which needs root), and serves the guest's processes over an abstract Unix socket
// named after the device, @vmrpc-doorbell-0000:00:05.0: each gets a descriptor to map the device's registers with, and
// an eventfd for each interrupt vector that it asks for. src/transport/vm/doorbell/broker_protocol.hpp says how, and
// who may.
//
// The library starts it when a process connects and none runs (with --ready and a descriptor to close when it listens);
// it ends 2 s after its last client has gone. Or start it at boot as root with --stay: it then ends on SIGTERM, and the
// processes that use it need no rights on /dev/vfio, only on the memory.
//
// Ends with 0 when it was no longer needed, or on SIGTERM or SIGINT; 1: it failed, and said why; 2: wrong use.
#include "base/fd.hpp"
#include "broker.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string>
#include <string_view>

namespace {

using namespace vmrpc;                 // NOLINT(google-build-using-namespace)
using namespace vmrpc::transport::vm;  // NOLINT(google-build-using-namespace)

constexpr int kFailed = 1;
constexpr int kWrongUse = 2;
constexpr std::int64_t kBusyLimitNs = 2'000'000'000;
constexpr timespec kBusyPause{.tv_sec = 0, .tv_nsec = 20'000'000};

struct Options {
    std::string address;
    bool stays = false;
    bool is_launched = false;
};

std::optional<Options> options_of(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word == "--stay") {
            options.stays = true;
        } else if (word == kReadyOption) {
            options.is_launched = true;
        } else if (options.address.empty() && is_pci_address(word)) {
            options.address = word;
        } else {
            return std::nullopt;
        }
    }
    return options.address.empty() ? std::nullopt : std::optional(options);
}

sigset_t stop_signals() {
    sigset_t signals{};
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGTERM);
    ::sigaddset(&signals, SIGINT);
    return signals;
}

/// The program that started it may end first: nothing of that one's is kept open.
void leave_starter() {
    const base::Fd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
    for (const int inherited : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(nothing.get(), inherited);
}

void raise_descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

/// The device stays open until the last client of a broker that died has let go of it: they are about to. Nothing if
/// a signal came meanwhile.
std::optional<base::Result<VfioDevice>> open_patiently(const std::string& address, const sigset_t& signals) {
    const auto limit = base::Deadline::in(kBusyLimitNs);
    while (true) {
        auto device = open_vfio_device(address);
        if (device || device.error().status != VMRPC_ADDRESS_IN_USE || limit.passed()) return device;
        if (::sigtimedwait(&signals, nullptr, &kBusyPause) > 0) return std::nullopt;
    }
}

int fail(const base::Error& error) {
    std::fprintf(stderr, "%s: %s\n", kBrokerProgram, error.text.c_str());
    return kFailed;
}

int run(const Options& options) {
    const sigset_t signals = stop_signals();
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    const base::Fd stop(::signalfd(-1, &signals, SFD_CLOEXEC));
    raise_descriptor_limit();
    auto listener = doorbell::listen_for(options.address);
    if (options.is_launched) ::close(kReadyFd);
    if (!listener) return fail(listener.error());
    auto device = open_patiently(options.address, signals);
    if (!device) return 0;
    // Who was launched tells those that wait; to whom else could it say it?
    if (!*device && !options.is_launched) return fail(device->error());
    const bool opened = device->has_value();
    doorbell::Broker broker({.address = options.address, .places = {}, .stays = options.stays && opened},
                            std::move(*listener), std::move(*device));
    broker.run(stop.get());
    return opened ? 0 : kFailed;
}

int start(int argc, char** argv) {
    const auto options = options_of(argc, argv);
    if (!options) {
        std::fputs("usage: vmrpc-doorbell [--stay] PCI_ADDRESS, as 0000:00:05.0\n", stderr);
        return kWrongUse;
    }
    if (options->is_launched) leave_starter();
    if (::chdir("/") != 0) return kFailed;  // holds no folder either
    return run(*options);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return start(argc, argv);
    } catch (const std::exception& error) {  // out of memory
        std::fprintf(stderr, "vmrpc-doorbell: %s\n", error.what());
        return kFailed;
    }
}
