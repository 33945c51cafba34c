#include "transport/local/server_link.hpp"

#include "base/log.hpp"
#include "transport/local/socket.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>

namespace vmrpc::transport::local {

LocalServerLink::LocalServerLink(ServerLinkParts parts) : parts_(std::move(parts)) {}

LocalServerLink::~LocalServerLink() {
    // First, so that nothing below is used any more.
    socket_watch_.reset();
    process_watch_.reset();
}

base::Status LocalServerLink::watch_client() {
    auto socket =
        notify::watch(parts_.socket.get(), EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, [this](std::uint32_t) { on_socket(); });
    if (!socket) return tl::unexpected(std::move(socket).error());
    socket_watch_ = std::move(*socket);
    if (!parts_.process.valid()) return {};
    auto process =
        notify::watch(parts_.process.get(), EPOLLIN | EPOLLONESHOT, [this](std::uint32_t) { report_loss(); });
    if (!process) return tl::unexpected(std::move(process).error());
    process_watch_ = std::move(*process);
    return {};
}

void LocalServerLink::on_socket() {
    std::array<std::byte, 1> nothing{};
    if (receive_message(parts_.socket.get(), nothing).arrival == Arrival::kMessage)
        base::log().warn("connection {}: the client (pid {}, uid {}) sent a message after the hand-shake: let go",
                         parts_.plan.connection, parts_.peer.pid, parts_.peer.uid);
    report_loss();
}

void LocalServerLink::report_loss() {
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
