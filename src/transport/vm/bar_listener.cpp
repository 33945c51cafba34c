#include "transport/vm/bar_listener.hpp"

#include "base/log.hpp"
#include "transport/vm/transports.hpp"

#include <fmt/format.h>

#include <utility>

namespace vmrpc::transport::vm {

BarListener::BarListener(SocketFile file, std::shared_ptr<Service> service)
    : service_(std::move(service)),
      acceptor_(std::make_unique<Acceptor>(std::move(file), service_->name, service_->sink,
                                           [this](notify::GuardedFd socket) { begin(std::move(socket)); })) {}

BarListener::~BarListener() {
    std::map<std::uint32_t, std::shared_ptr<Session>> sessions;
    {
        const std::lock_guard lock(service_->sink->mutex);
        service_->sink->events = nullptr;
        sessions.swap(sessions_);
    }
    // Without the mutex: a callback that has begun waits for it, and these destructors wait for the callback.
    acceptor_.reset();
    for (const auto& [number, session] : sessions) session->close();
}

base::Result<std::unique_ptr<BarListener>> BarListener::open(const std::string& path,
                                                             std::shared_ptr<Service> service) {
    auto file = SocketFile::open(path, Ivshmem::kScheme, SOCK_STREAM);
    if (!file) return tl::unexpected(std::move(file).error());
    auto listener = std::make_unique<BarListener>(std::move(*file), std::move(service));
    VMRPC_TRY(listener->start());
    return listener;
}

base::Status BarListener::start() {
    return acceptor_->start();
}

void BarListener::begin(notify::GuardedFd socket) {
    const std::uint32_t number = ++service_->last_vm;
    auto session =
        std::make_shared<Session>(service_, std::move(socket), number, nullptr, [this, number, service = service_] {
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

void BarListener::forget(std::uint32_t number) {
    sessions_.erase(number);
}

base::Result<std::unique_ptr<Listener>> Ivshmem::listen(const ListenRequest& request, ListenerEvents& events) {
    return listen(request, events, kReadLimitNs);
}

base::Result<std::unique_ptr<Listener>> Ivshmem::listen(const ListenRequest& request, ListenerEvents& events,
                                                        std::int64_t read_limit_ns) {
    auto service = make_service("ivshmem:" + request.address, request, events);
    if (!service) return tl::unexpected(std::move(service).error());
    (*service)->read_limit_ns = read_limit_ns;
    return BarListener::open(request.address, std::move(*service));
}

}  // namespace vmrpc::transport::vm
