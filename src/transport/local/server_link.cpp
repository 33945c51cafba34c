#include "transport/local/server_link.hpp"

#include "base/log.hpp"
#include "transport/local/socket.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <span>

namespace vmrpc::transport::local {

LocalServerLink::LocalServerLink(ServerLinkParts parts) : parts_(std::move(parts)) {}

LocalServerLink::~LocalServerLink() {
    // First, so that nothing below is used any more. Without the mutex: the callback may be waiting for it.
    notify::Watch last;
    {
        const std::lock_guard lock(watch_mutex_);
        last = std::move(socket_watch_);
    }
    last.reset();
    process_watch_.reset();
}

base::Status LocalServerLink::watch_client() {
    {
        // Held until the member is assigned: what waits already is reported at once.
        const std::lock_guard lock(watch_mutex_);
        auto socket = notify::watch(parts_.socket.get(), EPOLLIN | EPOLLRDHUP | EPOLLONESHOT,
                                    [this](std::uint32_t) { on_socket(); });
        if (!socket) return tl::unexpected(std::move(socket).error());
        socket_watch_ = std::move(*socket);
    }
    if (!parts_.process.valid()) return {};
    auto process =
        notify::watch(parts_.process.get(), EPOLLIN | EPOLLONESHOT, [this](std::uint32_t) { report_loss(); });
    if (!process) return tl::unexpected(std::move(process).error());
    process_watch_ = std::move(*process);
    return {};
}

void LocalServerLink::look_again() {
    const std::lock_guard lock(watch_mutex_);
    socket_watch_.rearm();
}

// One message in a turn, then other clients have theirs.
void LocalServerLink::on_socket() {
    FromClient message{};
    const Received received = receive_message(parts_.socket.get(), message);
    if (received.arrival == Arrival::kNothingYet) return look_again();
    if (received.arrival == Arrival::kMessage) {
        const auto taken = received.is_whole ? segments_.take(std::span(message).first(received.bytes))
                                             : base::fail(VMRPC_POISONED, "it sent a message that is too long");
        if (taken) return look_again();
        base::log().warn("connection {}: the client (pid {}, uid {}) was let go: {}", parts_.plan.connection,
                         parts_.peer.pid, parts_.peer.uid, taken.error().text);
    }
    report_loss();
}

void LocalServerLink::report_ended(heap::HeapId heap) {
    const auto sink = parts_.sink;
    const std::lock_guard lock(sink->mutex);
    if (sink->events != nullptr) sink->events->segment_ended(this, heap);
}

void LocalServerLink::report_loss() {
    segments_.stop();
    if (std::exchange(lost_, true)) return;
    const auto sink = parts_.sink;  // the event may destroy this link
    const std::lock_guard lock(sink->mutex);
    if (sink->events != nullptr) sink->events->lost(this);
}

void LocalServerLink::ring() noexcept {
    auto* control = reinterpret_cast<layout::ControlPage*>(segment() + parts_.plan.region_offset);
    rung_.write(control->rung[layout::index_of(layout::Side::kClient)]);
}

void LocalServerLink::hang_up() noexcept {
    // This direction only: the other one still has to tell when the client is gone.
    ::shutdown(parts_.socket.get(), SHUT_WR);
}

}  // namespace vmrpc::transport::local
