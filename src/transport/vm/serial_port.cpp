#include "transport/vm/serial_port.hpp"

#include "transport/vm/byte_lock.hpp"
#include "transport/vm/protocol.hpp"
#include "transport/vm/stream_doorbell.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

namespace vmrpc::transport::vm {
namespace {

/// What may wait in QEMU's socket and in the guest's buffers is less; whatever is left rings without need.
constexpr int kMostDrains = 256;

bool is_ours(const std::filesystem::path& port) {
    std::string name;
    std::getline(std::ifstream(port / "name"), name);
    return name.starts_with(kPortPrefix);
}

void drain(int port) {
    std::array<std::byte, 4096> stale{};
    for (int i = 0; i<kMostDrains&& ::read(port, stale.data(), stale.size())> 0; ++i) {
    }
}

/// One go at all of them.
class PortSearch {
  public:
    explicit PortSearch(const PortPlaces& places) : places_(places), names_(serial_ports(places)) {}

    /// None: error() says why not.
    notify::GuardedFd open() {
        for (const std::string& name : names_) {
            auto port = open(places_.devices + "/" + name);
            if (port.valid()) return port;
        }
        return {};
    }
    [[nodiscard]] bool may_come() const { return busy_ + silent_ > 0; }
    [[nodiscard]] base::Error error() const;

  private:
    notify::GuardedFd open(const std::string& device);

    const PortPlaces& places_;
    const std::vector<std::string> names_;
    std::size_t busy_ = 0;
    std::size_t silent_ = 0;
    std::string refused_;  // one that cannot be opened
    int refusal_ = 0;      // errno
};

notify::GuardedFd PortSearch::open(const std::string& device) {
    auto port = notify::GuardedFd::made_by([&] { return ::open(device.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC); });
    if (!port.valid()) {
        if (errno == EBUSY) {
            ++busy_;
        } else {
            refusal_ = errno;
            refused_ = device;
        }
        return {};
    }
    pollfd looked_at{port.get(), 0, 0};
    if (::poll(&looked_at, 1, 0) == 0) return port;
    ++silent_;
    return {};
}

base::Error PortSearch::error() const {
    if (names_.empty())
        return {VMRPC_NO_SERVER, fmt::format("no port {}N is in {}: give the VM ports (`vmrpc qemu-args`), and load "
                                             "virtio_console in the guest",
                                             kPortPrefix, places_.ports)};
    if (silent_ > 0)
        return {VMRPC_NO_SERVER, fmt::format("no service is at the other end of the VM's ports ({} of {}): start it",
                                             silent_, names_.size())};
    if (busy_ > 0)
        return {VMRPC_OUT_OF_RESOURCES,
                fmt::format("the VM's ports are in use ({} of {}), one for each connection: close a connection, or "
                            "give the VM more of them",
                            busy_, names_.size())};
    const bool denied = refusal_ == EACCES || refusal_ == EPERM;
    return {denied ? VMRPC_NOT_PERMITTED : VMRPC_OUT_OF_RESOURCES,
            fmt::format("user {} may not open {} ({}): as root, once, install vmrpc's udev rule and put the user into "
                        "group vmrpc (`vmrpc doctor`)",
                        ::geteuid(), refused_, std::generic_category().message(refusal_))};
}

}  // namespace

std::vector<std::string> serial_ports(const PortPlaces& places) {
    std::vector<std::string> names;
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(places.ports, none))
        if (is_ours(entry.path())) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
}

base::Result<notify::GuardedFd> open_serial_port(base::Deadline deadline, const PortPlaces& places) {
    Patience patience(deadline);
    for (;;) {
        PortSearch search(places);
        auto port = search.open();
        if (port.valid()) {
            drain(port.get());
            return port;
        }
        if (!search.may_come() || !patience.wait()) return tl::unexpected(search.error());
    }
}

base::Result<std::unique_ptr<Doorbell>> open_serial_doorbell(const layout::Uuid& segment, base::Deadline deadline) {
    auto port = open_serial_port(deadline);
    if (!port) return tl::unexpected(std::move(port).error());
    return make_stream_doorbell(std::move(*port), segment);
}

}  // namespace vmrpc::transport::vm
