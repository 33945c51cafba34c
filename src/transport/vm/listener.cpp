#include "transport/vm/listener.hpp"

#include "base/log.hpp"
#include "transport/vm/transports.hpp"

#include <fmt/format.h>

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace vmrpc::transport::vm {
namespace {

constexpr int kAcceptsPerRound = 4;            // each makes a segment and a process; then others get their turn
constexpr std::int64_t kRestNs = 100'000'000;  // after the system has refused to accept

}  // namespace

VmListener::VmListener(SocketFile file, std::shared_ptr<Service> service)
    : file_(std::move(file)), service_(std::move(service)) {}

VmListener::~VmListener() {
    std::map<std::uint32_t, std::shared_ptr<Session>> sessions;
    notify::Watch socket_watch;
    notify::Watch rest;
    {
        const std::lock_guard lock(service_->sink->mutex);
        service_->sink->events = nullptr;
        sessions.swap(sessions_);
        const std::lock_guard accepting_lock(accepting_mutex_);
        socket_watch = std::move(socket_watch_);
        rest = std::move(rest_);
    }
    // Without the mutex: a callback that has begun waits for it, and these destructors wait for the callback.
    for (const auto& [number, session] : sessions) session->close();
}

base::Status VmListener::start() {
    return watch_socket();
}

base::Status VmListener::watch_socket() {
    // Held until the member is assigned: a QEMU that waits already is reported at once.
    const std::lock_guard lock(accepting_mutex_);
    auto watch = notify::watch(file_.listening(), EPOLLIN, [this](std::uint32_t) { on_connections(); });
    if (!watch) return tl::unexpected(std::move(watch).error());
    socket_watch_ = std::move(*watch);
    return {};
}

void VmListener::on_connections() {
    const std::lock_guard lock(service_->sink->mutex);
    if (service_->sink->events == nullptr) return;
    for (int i = 0; i < kAcceptsPerRound && accept_one(); ++i) {
    }
}

bool VmListener::accept_one() {
    auto socket = notify::GuardedFd::made_by(
        [this] { return ::accept4(file_.listening(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK); });
    if (socket.valid()) {
        short_of_descriptors_ = false;
        begin(std::move(socket));
        return true;
    }
    if (errno == EAGAIN) return false;
    if (errno == EINTR || errno == ECONNABORTED) return true;
    // The connection stays in the queue and would be reported again at once, for ever.
    if (!std::exchange(short_of_descriptors_, true))
        base::log().warn("{}: cannot accept VMs: {}; they wait until it is possible", service_->name,
                         std::generic_category().message(errno));
    rest_from_accepting();
    return false;
}

void VmListener::rest_from_accepting() {
    auto rest = notify::after(kRestNs, [this] {
        const std::lock_guard lock(service_->sink->mutex);
        if (service_->sink->events == nullptr) return;
        if (const auto watched = watch_socket(); !watched) rest_from_accepting();
    });
    // The housekeeper is running, so that a timer costs nothing that could be short.
    if (!rest) return;
    const std::lock_guard lock(accepting_mutex_);
    rest_ = std::move(*rest);
    socket_watch_.reset();
}

void VmListener::begin(notify::GuardedFd socket) {
    const std::uint32_t number = ++last_vm_;
    auto session = std::make_shared<Session>(service_, std::move(socket), number, [this, number, service = service_] {
        const std::lock_guard lock(service->sink->mutex);
        if (service->sink->events != nullptr) forget(number);
    });
    if (const auto started = session->start(); !started) {
        // Ordinary: a server that starts looks in this way whether another one is alive.
        const auto level = started.error().status == VMRPC_PEER_LOST ? spdlog::level::debug : spdlog::level::warn;
        base::log().log(level, "{}: {} disconnected: {}", service_->name, session->title(), started.error().text);
        return;
    }
    base::log().info("{}: {} has connected", service_->name, session->title());
    sessions_.emplace(number, std::move(session));
}

void VmListener::forget(std::uint32_t number) {
    sessions_.erase(number);
}

base::Result<std::unique_ptr<Listener>> Ivshmem::listen(const ListenRequest& request, ListenerEvents& events) {
    return listen(request, events, kReadLimitNs);
}

base::Result<std::unique_ptr<Listener>> Ivshmem::listen(const ListenRequest& request, ListenerEvents& events,
                                                        std::int64_t read_limit_ns) {
    auto sentinel = find_sentinel();
    if (!sentinel) return tl::unexpected(std::move(sentinel).error());
    auto file = SocketFile::open(request.address, kScheme, SOCK_STREAM);
    if (!file) return tl::unexpected(std::move(file).error());
    auto service = std::make_shared<Service>();
    service->name = "ivshmem:" + request.address;
    service->most = request.most;
    service->max_connections = request.max_connections;
    service->read_limit_ns = read_limit_ns;
    service->sentinel = std::move(*sentinel);
    service->sink = std::make_shared<EventSink>();
    service->sink->events = &events;
    auto listener = std::make_unique<VmListener>(std::move(*file), std::move(service));
    VMRPC_TRY(listener->start());
    return listener;
}

}  // namespace vmrpc::transport::vm
