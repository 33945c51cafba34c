#include "transport/local/client_link.hpp"

#include "base/log.hpp"
#include "notify/futex.hpp"
#include "transport/local/socket.hpp"

#include <sys/epoll.h>

#include <utility>

namespace vmrpc::transport::local {

LocalClientLink::LocalClientLink(ClientLinkParts parts, ClientEvents& events)
    : parts_(std::move(parts)), events_(events) {}

LocalClientLink::~LocalClientLink() {
    // First, so that nothing below is used any more. Without the mutex: the callback may be waiting for it.
    notify::Watch last;
    {
        const std::lock_guard lock(watch_mutex_);
        last = std::move(socket_watch_);
    }
    last.reset();
    process_watch_.reset();
}

base::Status LocalClientLink::watch_server() {
    {
        // Held until the member is assigned: what waits already is reported at once.
        const std::lock_guard lock(watch_mutex_);
        auto socket = notify::watch(parts_.socket.get(), EPOLLIN | EPOLLRDHUP | EPOLLONESHOT,
                                    [this](std::uint32_t) { on_socket(); });
        if (!socket) return tl::unexpected(std::move(socket).error());
        socket_watch_ = std::move(*socket);
    }
    if (!parts_.process.valid()) return {};
    auto process = notify::watch(parts_.process.get(), EPOLLIN | EPOLLONESHOT, [this](std::uint32_t) { on_end(); });
    if (!process) return tl::unexpected(std::move(process).error());
    process_watch_ = std::move(*process);
    return {};
}

void LocalClientLink::look_again() {
    const std::lock_guard lock(watch_mutex_);
    socket_watch_.rearm();
}

// One message in a turn, then others have theirs.
void LocalClientLink::on_socket() {
    FromServer message{};
    Received received = receive_message(parts_.socket.get(), message, Descriptors::kWanted);
    if (received.arrival == Arrival::kNothingYet) return look_again();
    if (received.arrival == Arrival::kMessage) {
        const auto taken =
            received.is_whole && !received.descriptors[1].valid()
                ? segments_.take(std::span(message).first(received.bytes), std::move(received.descriptors[0]))
                : base::fail(VMRPC_POISONED, "the server sent a message that is too long, or too many descriptors");
        if (taken) return look_again();
        base::log().warn("connection {}: {}: it is over", parts_.plan.connection, taken.error().text);
    }
    on_end();
}

// The socket has ended, or the server's process, or the server says what it must not.
void LocalClientLink::on_end() {
    segments_.stop();
    if (ended_.exchange(true)) return;
    interrupt_wait();
    events_.lost();  // last: it may destroy this link
}

layout::Rung& LocalClientLink::rung() const {
    auto* control = reinterpret_cast<layout::ControlPage*>(segment() + parts_.plan.region_offset);
    return control->rung[layout::index_of(layout::Side::kClient)];
}

void LocalClientLink::ring() noexcept {
    const std::uint64_t one = 1;
    // The eventfd never blocks. What can fail (the counter is full) means that the server has been rung already.
    static_cast<void>(!::write(parts_.bell.get(), &one, sizeof one));
}

void LocalClientLink::wait(std::uint32_t seen, base::Deadline deadline) noexcept {
    if (ended_.load()) return;
    notify::futex_wait(rung().count.address(), seen, deadline, notify::FutexScope::kShared);
}

void LocalClientLink::interrupt_wait() noexcept {
    interrupt_.write(rung());
}

}  // namespace vmrpc::transport::local
