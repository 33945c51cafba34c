#include "transport/local/client_link.hpp"

#include "notify/futex.hpp"

#include <sys/epoll.h>

#include <utility>

namespace vmrpc::transport::local {

LocalClientLink::LocalClientLink(ClientLinkParts parts, ClientEvents& events)
    : parts_(std::move(parts)), events_(events) {}

LocalClientLink::~LocalClientLink() {
    // First, so that nothing below is used any more.
    socket_watch_.reset();
    process_watch_.reset();
}

base::Status LocalClientLink::watch_server() {
    auto socket =
        notify::watch(parts_.socket.get(), EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, [this](std::uint32_t) { on_end(); });
    if (!socket) return tl::unexpected(std::move(socket).error());
    socket_watch_ = std::move(*socket);
    if (!parts_.process.valid()) return {};
    auto process = notify::watch(parts_.process.get(), EPOLLIN | EPOLLONESHOT, [this](std::uint32_t) { on_end(); });
    if (!process) return tl::unexpected(std::move(process).error());
    process_watch_ = std::move(*process);
    return {};
}

// The socket has ended, or the server's process, or the server says something where nothing is to be said.
void LocalClientLink::on_end() {
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
