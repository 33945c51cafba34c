#include "transport/vm/session.hpp"

#include "base/log.hpp"
#include "transport/socket.hpp"
#include "transport/vm/protocol.hpp"

#include <fmt/format.h>

#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include <array>
#include <bit>
#include <utility>

namespace vmrpc::transport::vm {

static_assert(std::endian::native == std::endian::little, "messages are sent as they lie in memory");

Session::Session(std::shared_ptr<Service> service, notify::GuardedFd socket, std::uint32_t number,
                 std::function<void()> ended)
    : service_(std::move(service)),
      socket_(std::move(socket)),
      ended_(std::move(ended)),
      peer_(peer_of(socket_.get())) {
    peer_.vm = number;
    title_ = fmt::format("VM {} (QEMU's pid {}, uid {})", number, peer_.pid, peer_.uid);
}

base::Status Session::start() {
    // First what costs nothing: a server that looks whether the address is in use has left by now.
    VMRPC_TRY(send(kProtocolVersion));
    VMRPC_TRY(send(kVmPeer));
    auto vm = Vm::make(*service_, peer_);
    if (!vm) return tl::unexpected(std::move(vm).error());
    vm_ = std::move(*vm);
    directory_ = std::make_unique<Directory>(service_, vm_);
    // Before the guest can see anything of the server that it would have to be told the death of.
    VMRPC_TRY(vm_->start_sentinel(*service_));
    VMRPC_TRY(greet());
    return watch();
}

base::Status Session::send(std::int64_t message, int descriptor) {
    const std::array<int, 1> descriptors{descriptor};
    return send_message(socket_.get(), bytes_of(message),
                        std::span<const int>(descriptors).first(descriptor < 0 ? 0 : 1));
}

base::Status Session::greet() {
    VMRPC_TRY(send(kMemoryFollows, vm_->memory()));
    for (std::uint32_t vector = 0; vector < kVectors; ++vector) VMRPC_TRY(send(kServerPeer, vm_->bell(vector)));
    for (std::uint32_t vector = 0; vector < kVectors; ++vector) VMRPC_TRY(send(kVmPeer, vm_->interrupt(vector)));
    return {};
}

base::Status Session::watch() {
    // The callbacks hold the session only while they run: the listener may drop it in the middle of one.
    const auto callback = [this](void (Session::*function)()) {
        return [self = weak_from_this(), function] {
            if (const auto session = self.lock()) (session.get()->*function)();
        };
    };
    const auto on_event = [&callback](void (Session::*function)()) {
        return [call = callback(function)](std::uint32_t) { call(); };
    };
    auto socket = notify::watch(socket_.get(), EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, on_event(&Session::on_socket));
    if (!socket) return tl::unexpected(std::move(socket).error());
    auto look = notify::watch(vm_->bell(kDirectoryVector), EPOLLIN | EPOLLET, on_event(&Session::on_directory));
    if (!look) return tl::unexpected(std::move(look).error());
    auto limit = notify::after(service_->read_limit_ns, callback(&Session::on_read_limit));
    if (!limit) return tl::unexpected(std::move(limit).error());
    socket_watch_ = std::move(*socket);
    directory_watch_ = std::move(*look);
    read_limit_ = std::move(*limit);
    return {};
}

void Session::on_directory() {
    directory_->look();
}

void Session::on_socket() {
    std::array<std::byte, 8> nothing{};
    if (receive_message(socket_.get(), nothing).arrival == Arrival::kMessage)
        base::log().warn("{}: {} sent something, as QEMU's ivshmem never does: disconnected", service_->name, title_);
    else
        base::log().info("{}: {} has ended", service_->name, title_);
    end();
}

void Session::on_read_limit() {
    int unread_bytes = 0;
    if (::ioctl(socket_.get(), SIOCOUTQ, &unread_bytes) != 0 || unread_bytes == 0) return;
    base::log().warn("{}: {} has not read what it was sent within {} s: disconnected", service_->name, title_,
                     static_cast<double>(service_->read_limit_ns) / 1e9);
    end();
}

void Session::end() {
    socket_watch_.reset();
    directory_watch_.reset();
    read_limit_.reset();
    directory_->lose_all();
    socket_.reset();
    ended_();
}

void Session::close() {
    if (directory_ != nullptr) directory_->close();
}

}  // namespace vmrpc::transport::vm
