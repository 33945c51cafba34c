#include "transport/vm/session.hpp"

#include "base/log.hpp"
#include "transport/socket.hpp"
#include "transport/vm/protocol.hpp"

#include <fmt/format.h>

#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <utility>

namespace vmrpc::transport::vm {

static_assert(std::endian::native == std::endian::little, "messages are sent as they lie in memory");

namespace {

/// The memory of a device that only rings: one page.
base::Result<notify::GuardedFd> make_card(const layout::Uuid& segment) {
    auto memory = make_segment_memory(static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)));
    if (!memory) return memory;
    layout::DoorbellCard card{};
    card.magic = layout::kDoorbellMagic;
    card.layout_major = layout::kLayoutMajor;
    card.layout_minor = layout::kLayoutMinor;
    card.segment_uuid = segment;
    if (::pwrite(memory->get(), &card, sizeof card, 0) != static_cast<ssize_t>(sizeof card))
        return base::fail_errno("cannot write a doorbell's card", errno);
    return memory;
}

}  // namespace

Session::Session(std::shared_ptr<Service> service, notify::GuardedFd socket, std::uint32_t number,
                 std::shared_ptr<ServedVm> served, std::function<void()> ended)
    : service_(std::move(service)),
      socket_(std::move(socket)),
      ended_(std::move(ended)),
      peer_(peer_of(socket_.get())),
      has_own_segment_(served == nullptr),
      served_(std::move(served)) {
    peer_.vm = number;
    title_ = fmt::format("VM {} (QEMU's pid {}, uid {})", number, peer_.pid, peer_.uid);
}

base::Status Session::start() {
    // First what costs nothing: a server that looks whether the address is in use has left by now.
    VMRPC_TRY(send(kProtocolVersion));
    VMRPC_TRY(send(kVmPeer));
    if (has_own_segment_) {
        VMRPC_TRY(make_segment());
        VMRPC_TRY(greet(served_->vm().memory().descriptor));
    } else {
        const auto card = make_card(served_->vm().uuid());
        if (!card) return tl::unexpected(card.error());
        VMRPC_TRY(greet(card->get()));
    }
    served_->vm().set_doorbell(true);
    return watch();
}

base::Status Session::make_segment() {
    auto vm = Vm::make(*service_, peer_);
    if (!vm) return tl::unexpected(std::move(vm).error());
    served_ = std::make_shared<ServedVm>(service_, std::move(*vm));
    return served_->start(ServedVm::Looking::kNo);
}

base::Status Session::send(std::int64_t message, int descriptor) {
    const std::array<int, 1> descriptors{descriptor};
    return send_message(socket_.get(), bytes_of(message),
                        std::span<const int>(descriptors).first(descriptor < 0 ? 0 : 1));
}

base::Status Session::greet(int memory) {
    VMRPC_TRY(send(kMemoryFollows, memory));
    for (const auto& bell : served_->vm().bells()) VMRPC_TRY(send(kServerPeer, bell.get()));
    for (const auto& interrupt : served_->vm().interrupts()) VMRPC_TRY(send(kVmPeer, interrupt.get()));
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
    auto limit = notify::after(service_->read_limit_ns, callback(&Session::on_read_limit));
    if (!limit) return tl::unexpected(std::move(limit).error());
    socket_watch_ = std::move(*socket);
    read_limit_ = std::move(*limit);
    return {};
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
    read_limit_.reset();
    served_->vm().set_doorbell(false);
    if (has_own_segment_) served_->stop();
    served_->lose_all();
    socket_.reset();
    ended_();
}

void Session::close() {
    if (has_own_segment_ && served_ != nullptr) served_->close();
}

}  // namespace vmrpc::transport::vm
