#include "transport/vm/acceptor.hpp"

#include "base/log.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

namespace vmrpc::transport::vm {
namespace {

constexpr int kAcceptsPerRound = 4;            // each makes a segment and a process; then others get their turn
constexpr std::int64_t kRestNs = 100'000'000;  // after the system has refused to accept

}  // namespace

Acceptor::Acceptor(SocketFile file, std::string name, std::shared_ptr<EventSink> sink,
                   std::function<void(notify::GuardedFd)> accepted)
    : file_(std::move(file)), name_(std::move(name)), sink_(std::move(sink)), accepted_(std::move(accepted)) {}

Acceptor::~Acceptor() {
    notify::Watch socket_watch;
    notify::Watch rest;
    const std::lock_guard lock(watches_mutex_);
    socket_watch = std::move(socket_watch_);
    rest = std::move(rest_);
}

base::Status Acceptor::watch_socket() {
    // Held until the member is assigned: a QEMU that waits already is reported at once.
    const std::lock_guard lock(watches_mutex_);
    auto watch = notify::watch(file_.listening(), EPOLLIN, [this](std::uint32_t) { on_connections(); });
    if (!watch) return tl::unexpected(std::move(watch).error());
    socket_watch_ = std::move(*watch);
    return {};
}

void Acceptor::on_connections() {
    const auto sink = sink_;  // what is accepted may end this object
    const std::lock_guard lock(sink->mutex);
    for (int i = 0; i < kAcceptsPerRound && sink->events != nullptr && accept_one(); ++i) {
    }
}

bool Acceptor::accept_one() {
    auto socket = notify::GuardedFd::made_by(
        [this] { return ::accept4(file_.listening(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK); });
    if (socket.valid()) {
        short_of_descriptors_ = false;
        accepted_(std::move(socket));
        return true;
    }
    if (errno == EAGAIN) return false;
    if (errno == EINTR || errno == ECONNABORTED) return true;
    // The connection stays in the queue and would be reported again at once, for ever.
    if (!std::exchange(short_of_descriptors_, true))
        base::log().warn("{}: cannot accept VMs: {}; they wait until it is possible", name_,
                         std::generic_category().message(errno));
    rest_from_accepting();
    return false;
}

void Acceptor::rest_from_accepting() {
    auto rest = notify::after(kRestNs, [this] {
        const std::lock_guard lock(sink_->mutex);
        if (sink_->events == nullptr) return;
        if (const auto watched = watch_socket(); !watched) rest_from_accepting();
    });
    // The housekeeper is running, so that a timer costs nothing that could be short.
    if (!rest) return;
    const std::lock_guard lock(watches_mutex_);
    rest_ = std::move(*rest);
    socket_watch_.reset();
}

}  // namespace vmrpc::transport::vm
