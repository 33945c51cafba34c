#include "transport/vm/serial_ports.hpp"

#include "notify/housekeeper.hpp"
#include "transport/socket.hpp"

#include <fmt/format.h>

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

namespace vmrpc::transport::vm {

class SerialPorts::Port {
  public:
    Port(notify::GuardedFd socket, RingReader heard_by) : reader(heard_by), socket_(std::move(socket)) {}

    base::Status watch(std::function<void()> ready) {
        auto watch =
            notify::watch(socket_.get(), EPOLLIN | EPOLLRDHUP, [ready = std::move(ready)](std::uint32_t) { ready(); });
        if (!watch) return tl::unexpected(std::move(watch).error());
        watch_ = std::move(*watch);
        return {};
    }
    void stop() { watch_.reset(); }
    /// As recv(), of what is there.
    ssize_t receive(std::span<std::byte> into) const {
        return ::recv(socket_.get(), into.data(), into.size(), MSG_DONTWAIT);
    }
    void ring() const noexcept {
        const std::byte rung{kRequestVector};
        static_cast<void>(::send(socket_.get(), &rung, 1, MSG_DONTWAIT | MSG_NOSIGNAL));
    }

    RingReader reader;

  private:
    notify::GuardedFd socket_;
    notify::Watch watch_;
};

SerialPorts::SerialPorts(std::weak_ptr<Vm> vm, const layout::Uuid& segment, std::uint32_t entries,
                         std::function<void()> ended)
    : vm_(std::move(vm)), segment_(segment), entries_(entries), ended_(std::move(ended)), by_entry_(entries) {}

// Nothing is watched once this returns, whoever still rings a port.
SerialPorts::~SerialPorts() {
    for (const auto& [name, port] : ports_) port->stop();
}

base::Status SerialPorts::add(notify::GuardedFd socket) {
    const std::uint32_t qemu = peer_of(socket.get()).pid;
    if (!ports_.empty() && qemu != qemu_)
        return base::fail(VMRPC_NOT_PERMITTED,
                          fmt::format("pid {} has its ports, and only one QEMU may have this memory", qemu_));
    if (ports_.size() >= kMostProcesses)
        return base::fail(VMRPC_NOT_PERMITTED, fmt::format("it has {} ports already", ports_.size()));
    const std::uint64_t name = last_name_ + 1;
    auto port = std::make_shared<Port>(std::move(socket), RingReader(segment_, entries_));
    VMRPC_TRY(port->watch([self = weak_from_this(), name] {
        if (const auto ports = self.lock()) ports->on_socket(name);
    }));
    qemu_ = qemu;
    last_name_ = name;
    ports_.emplace(name, std::move(port));
    return {};
}

void SerialPorts::ring(std::uint32_t entry) noexcept {
    std::shared_ptr<Port> port;
    {
        const std::lock_guard lock(mutex_);
        if (entry < by_entry_.size()) port = by_entry_[entry];
    }
    if (port != nullptr) port->ring();
}

// Once for each report, so that a guest that never stops to write leaves others their turns.
void SerialPorts::on_socket(std::uint64_t name) {
    const auto found = ports_.find(name);
    if (found == ports_.end()) return;
    const auto port = found->second;
    std::array<std::byte, 4096> bytes{};
    const ssize_t count = port->receive(bytes);
    if (count > 0)
        take(port, port->reader.take(std::span(bytes).first(static_cast<std::size_t>(count))));
    else if (count == 0 || (errno != EAGAIN && errno != EINTR))
        end(name);
}

void SerialPorts::take(const std::shared_ptr<Port>& port, const RingReader::Heard& heard) {
    take_rings(vm_, heard);
    if (!heard.entry) return;
    know(port, *heard.entry);
    // The directory may have said before who it is: rings for it were lost until now.
    port->ring();
}

/// A port has one process at a time, and so has an entry: what was known of those before is over.
void SerialPorts::know(std::shared_ptr<Port> port, std::uint32_t entry) {
    const std::lock_guard lock(mutex_);
    for (auto& each : by_entry_)
        if (each == port) each.reset();
    by_entry_[entry].swap(port);
}

void SerialPorts::end(std::uint64_t name) {
    const auto port = std::move(ports_.extract(name).mapped());
    port->stop();
    {
        const std::lock_guard lock(mutex_);
        for (auto& each : by_entry_)
            if (each == port) each.reset();
    }
    if (ports_.empty()) ended_();
}

}  // namespace vmrpc::transport::vm
