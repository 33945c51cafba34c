#include "transport/vm/vsock/vsock_backend.hpp"

#include "base/log.hpp"
#include "transport/socket.hpp"

#include <fmt/format.h>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <utility>
#include <vector>

namespace vmrpc::transport::vm::vsock {
namespace {

constexpr int kMostMessages = 16;  // in a round: other descriptors of the process want their turn
constexpr int kMostEvents = 64;

std::string title_of(int socket, std::uint64_t guest_cid) {
    const Peer peer = peer_of(socket);
    return fmt::format("VM with CID {} (QEMU's pid {}, uid {})", guest_cid, peer.pid, peer.uid);
}

}  // namespace

VsockBackend::VsockBackend(notify::GuardedFd socket, std::uint64_t guest_cid, VsockEvents& events,
                           std::int64_t message_limit_ns)
    : title_(title_of(socket.get(), guest_cid)),
      guest_cid_(guest_cid),
      message_limit_ns_(message_limit_ns),
      events_(&events),
      watched_{.socket = std::move(socket)},
      vhost_user_(watched_.socket.get(), guest_cid, *this),
      device_(guest_cid) {}

VsockBackend::~VsockBackend() {
    stop();
}

// ---- its life

base::Status VsockBackend::start() {
    if (guest_cid_ <= kHostCid || guest_cid_ >= std::numeric_limits<std::uint32_t>::max())
        return base::fail(VMRPC_BAD_ARGUMENT, fmt::format("{} is no guest's CID: those begin at 3", guest_cid_));
    Watched gone;
    const std::lock_guard lock(running_);
    base::Status watching = watch();
    if (!watching) gone = disconnect();
    return watching;
}

// The callbacks hold this only while they run.
std::function<void()> VsockBackend::callback(void (VsockBackend::*function)()) {
    return [weak = weak_from_this(), function] {
        const auto self = weak.lock();
        if (self == nullptr) return;
        const std::lock_guard lock(self->running_);
        if (self->events_ != nullptr) (self.get()->*function)();
    };
}

base::Status VsockBackend::watch() {
    wake_ = notify::GuardedFd::made_by([] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); });
    if (!wake_.valid()) return base::fail_errno("cannot make an eventfd", errno);
    const auto watch_one = [this](int descriptor, std::uint32_t events, void (VsockBackend::*function)()) {
        return notify::watch(descriptor, events, [call = callback(function)](std::uint32_t) { call(); });
    };
    auto woken = watch_one(wake_.get(), EPOLLIN | EPOLLET, &VsockBackend::work);
    if (!woken) return tl::unexpected(std::move(woken).error());
    watched_.wake_watch = std::move(*woken);
    auto readable = watch_one(watched_.socket.get(), EPOLLIN | EPOLLRDHUP, &VsockBackend::on_socket);
    if (!readable) return tl::unexpected(std::move(readable).error());
    watched_.socket_watch = std::move(*readable);
    return limit_message();
}

void VsockBackend::stop() {
    if (!is_of_this_process()) return;  // the locks may have been held at the fork
    Watched gone;                       // ends behind the lock
    const std::lock_guard lock(running_);
    gone = disconnect();
}

// From now on nothing is called, sent, or touched in the guest's memory.
VsockBackend::Watched VsockBackend::disconnect() {
    events_ = nullptr;
    std::unique_ptr<GuestMemory> unmapped;
    {
        const std::lock_guard lock(mutex_);
        is_over_ = true;
        for (std::uint32_t i = 0; i < kRings; ++i) device_.stop_ring(i);
        unmapped = device_.set_memory(nullptr);
        for (auto& call : calls_) call.reset();
    }
    return std::exchange(watched_, {});
}

void VsockBackend::end(const base::Error& error) {
    if (error.status == VMRPC_PEER_LOST)
        base::log().info("vsock: {}: {}", title_, error.text);
    else
        base::log().warn("vsock: {}: {}: disconnected", title_, error.text);
    VsockEvents* const events = events_;
    const Watched gone = disconnect();  // on the housekeeping thread, where no Watch waits
    events_ = events;
    std::vector<StreamId> lost;
    {
        const std::lock_guard lock(mutex_);
        lost = device_.lose_all();
    }
    for (const StreamId stream : lost) {
        events_->closed(stream);
        if (events_ == nullptr) return;  // it has stopped
    }
    std::exchange(events_, nullptr)->ended();
}

// ---- QEMU's messages

void VsockBackend::on_socket() {
    for (int i = 0; i < kMostMessages; ++i) {
        const auto progress = vhost_user_.receive();
        if (!progress) return end(progress.error());
        if (*progress != MessageReader::Progress::kMessage) {
            const bool has_begun = *progress == MessageReader::Progress::kPartial;
            const base::Status limited = has_begun && !is_limited_ ? limit_message() : base::Status();
            return limited ? void() : end(limited.error());
        }
        watched_.message_limit.reset();
        is_limited_ = false;
    }
}

base::Status VsockBackend::limit_message() {
    auto limit = notify::after(message_limit_ns_, callback(&VsockBackend::on_message_limit));
    if (!limit) return tl::unexpected(std::move(limit).error());
    watched_.message_limit = std::move(*limit);
    is_limited_ = true;
    return {};
}

void VsockBackend::on_message_limit() {
    end({.status = VMRPC_TIMED_OUT,
         .text = fmt::format("QEMU has not sent a whole message within {} s",
                             static_cast<double>(message_limit_ns_) / 1e9)});
}

void VsockBackend::set_memory(std::unique_ptr<GuestMemory> memory) {
    std::unique_ptr<GuestMemory> before;  // unmapped behind the lock
    const std::lock_guard lock(mutex_);
    before = device_.set_memory(std::move(memory));
}

void VsockBackend::start_ring(std::uint32_t index, const RingPlace& place, std::uint16_t next) {
    const std::lock_guard lock(mutex_);
    device_.start_ring(index, place, next);
    wake();  // there may be something in it that was kicked for before
}

std::uint16_t VsockBackend::stop_ring(std::uint32_t index) {
    const std::lock_guard lock(mutex_);
    return device_.stop_ring(index);
}

base::Status VsockBackend::set_kick(std::uint32_t index, notify::GuardedFd kick) {
    watched_.kick_watches[index].reset();
    watched_.kicks[index] = std::move(kick);
    // Edge-triggered, and never read: each kick is an edge, and what is read could be made to block.
    auto watch = notify::watch(watched_.kicks[index].get(), EPOLLIN | EPOLLET,
                               [call = callback(&VsockBackend::work)](std::uint32_t) { call(); });
    if (!watch) return tl::unexpected(std::move(watch).error());
    watched_.kick_watches[index] = std::move(*watch);
    return {};
}

void VsockBackend::set_call(std::uint32_t index, notify::GuardedFd call) {
    const std::lock_guard lock(mutex_);
    calls_[index] = std::move(call);
}

// ---- the guest's packets

void VsockBackend::work() {
    for (int i = 0; i < kMostEvents; ++i) {
        const auto event = next_event();
        if (!event) return end(event.error());
        if (event->kind == Event::Kind::kIdle) return;
        tell(*event);
        if (events_ == nullptr) return;
    }
    wake();
}

base::Result<Event> VsockBackend::next_event() {
    const std::lock_guard lock(mutex_);
    if (broken_) return tl::unexpected(*broken_);
    const auto is_left = device_.flush();
    if (!is_left) return tl::unexpected(is_left.error());
    interrupt(kToGuest);
    auto event = device_.next_event(received_);
    if (!event || event->kind != Event::Kind::kIdle) return event;
    interrupt(kFromGuest);  // once for all packets: the guest only counts its free buffers
    if (*is_left) event->kind = Event::Kind::kQuiet;
    return event;
}

void VsockBackend::tell(const Event& event) {
    switch (event.kind) {
        case Event::Kind::kOpened: {
            const bool accepted = events_->opened(event.stream, event.ports.guest, event.ports.host);
            const std::lock_guard lock(mutex_);
            device_.answer(event.stream, accepted);
            return;
        }
        case Event::Kind::kReceived: {
            const std::size_t done = events_->received(event.stream, event.bytes);
            const std::lock_guard lock(mutex_);
            device_.consume(event.stream, done);
            return;
        }
        case Event::Kind::kSendable:
            return events_->sendable(event.stream);
        case Event::Kind::kClosed:
            return events_->closed(event.stream);
        case Event::Kind::kIdle:
        case Event::Kind::kQuiet:
            return;
    }
}

// ---- any thread's calls

base::Status VsockBackend::send(StreamId stream, std::span<const std::byte> bytes) {
    if (!is_of_this_process()) return base::fail(VMRPC_CLOSED, "the VM is connected to this process's parent");
    const std::lock_guard lock(mutex_);
    if (is_over_ || broken_) return base::fail(VMRPC_PEER_LOST, "the VM is not connected any more");
    VMRPC_TRY(device_.send(stream, bytes));
    flush();
    return {};
}

void VsockBackend::close(StreamId stream) {
    if (!is_of_this_process()) return;
    const std::lock_guard lock(mutex_);
    if (is_over_ || broken_) return;
    device_.close(stream);
    flush();
}

void VsockBackend::consumed(StreamId stream, std::size_t bytes) {
    if (!is_of_this_process()) return;
    const std::lock_guard lock(mutex_);
    if (is_over_ || broken_) return;
    device_.consume(stream, bytes);
    flush();
}

// Requires mutex_.
void VsockBackend::flush() {
    const auto is_left = device_.flush();
    if (!is_left) broken_ = is_left.error();
    interrupt(kToGuest);
    if (!is_left || *is_left || device_.has_news()) wake();
}

// Requires mutex_.
void VsockBackend::interrupt(std::uint32_t ring) {
    if (!device_.take_interrupt(ring) || !calls_[ring].valid()) return;
    const std::uint64_t one = 1;
    // Fails only when the counter is full, and then the guest is being interrupted already.
    static_cast<void>(!::write(calls_[ring].get(), &one, sizeof one));
}

void VsockBackend::wake() const {
    const std::uint64_t one = 1;
    static_cast<void>(!::write(wake_.get(), &one, sizeof one));
}

}  // namespace vmrpc::transport::vm::vsock
