#include "transport/local/listener.hpp"

#include "base/log.hpp"
#include "transport/local/local.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace vmrpc::transport::local {
namespace {

constexpr int kAcceptsPerRound = 16;           // then others get their turn
constexpr std::size_t kMaxHandshakes = 128;    // more wait in the socket's queue
constexpr std::int64_t kRestNs = 100'000'000;  // after the system has refused to accept

}  // namespace

LocalListener::LocalListener(SocketFile file, const ListenRequest& request, ListenerEvents& events)
    : terms_{"local:" + request.address, request.most, request.max_connections},
      file_(std::move(file)),
      sink_(std::make_shared<EventSink>()) {
    sink_->events = &events;
}

LocalListener::~LocalListener() {
    const auto sink = sink_;
    std::map<std::uint64_t, std::unique_ptr<Handshake>> unfinished;
    notify::Watch socket_watch;
    notify::Watch rest;
    {
        const std::lock_guard lock(sink->mutex);
        sink->events = nullptr;
        unfinished.swap(handshakes_);
        const std::lock_guard accepting_lock(accepting_mutex_);
        socket_watch = std::move(socket_watch_);
        rest = std::move(rest_);
    }
    // Without the mutex: a callback that has begun waits for it, and these destructors wait for the callback.
}

base::Status LocalListener::start() {
    return watch_socket();
}

base::Status LocalListener::watch_socket() {
    // Held until the member is assigned: a connection that waits already is reported at once.
    const std::lock_guard lock(accepting_mutex_);
    auto watch = notify::watch(file_.listening(), EPOLLIN, [this](std::uint32_t) { on_connections(); });
    if (!watch) return tl::unexpected(std::move(watch).error());
    socket_watch_ = std::move(*watch);
    return {};
}

void LocalListener::on_connections() {
    const std::lock_guard lock(sink_->mutex);
    if (sink_->events == nullptr) return;
    for (int i = 0; i < kAcceptsPerRound; ++i) {
        if (handshakes_.size() >= kMaxHandshakes) return rest_from_accepting();
        if (!accept_one()) return;
    }
}

bool LocalListener::accept_one() {
    auto socket = notify::GuardedFd::made_by(
        [this] { return ::accept4(file_.listening(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK); });
    if (socket.valid()) {
        begin(std::move(socket));
        return true;
    }
    if (errno == EAGAIN) {
        // Not at a client that was accepted: the last descriptor may be its, and it is refused for want of others.
        short_of_descriptors_ = false;
        return false;
    }
    if (errno == EINTR || errno == ECONNABORTED) return true;
    // The connection stays in the queue and would be reported again at once, for ever.
    if (!std::exchange(short_of_descriptors_, true))
        base::log().warn("{}: cannot accept clients: {}; they wait until it is possible", terms_.name,
                         std::generic_category().message(errno));
    rest_from_accepting();
    return false;
}

void LocalListener::rest_from_accepting() {
    auto rest = notify::after(kRestNs, [this] {
        const std::lock_guard lock(sink_->mutex);
        if (sink_->events == nullptr) return;
        if (const auto watched = watch_socket(); !watched) rest_from_accepting();
    });
    // The housekeeper is running, so that a timer costs nothing that could be short.
    if (!rest) return;
    const std::lock_guard lock(accepting_mutex_);
    rest_ = std::move(*rest);
    socket_watch_.reset();
}

void LocalListener::begin(notify::GuardedFd socket) {
    const std::uint64_t number = ++last_connection_;
    auto handshake = std::make_unique<Handshake>(std::move(socket), terms_, sink_, last_connection_);
    const auto watched = handshake->watch([this, number] { on_handshake(number); }, Local::kHandshakeLimitNs,
                                          [this, number] { on_time_limit(number); });
    if (!watched) {
        base::log().warn("{}: client ({}) refused: {}", terms_.name, handshake->client(), watched.error().text);
        return;
    }
    handshakes_.emplace(number, std::move(handshake));
}

void LocalListener::on_handshake(std::uint64_t number) {
    const auto sink = sink_;  // the event may end this listener
    const std::lock_guard lock(sink->mutex);
    const auto found = handshakes_.find(number);
    if (sink->events == nullptr || found == handshakes_.end()) return;
    const Handshake::Progress progress = found->second->advance();
    if (progress == Handshake::Progress::kWaiting) return;
    const auto finished = std::move(found->second);
    handshakes_.erase(found);
    if (progress == Handshake::Progress::kDone) sink->events->opened(finished->take_link());
}

void LocalListener::on_time_limit(std::uint64_t number) {
    const std::lock_guard lock(sink_->mutex);
    const auto found = handshakes_.find(number);
    if (found == handshakes_.end()) return;
    base::log().warn("{}: client ({}) refused: it did not finish the hand-shake within {} s", terms_.name,
                     found->second->client(), Local::kHandshakeLimitNs / 1'000'000'000);
    const auto finished = std::move(found->second);
    handshakes_.erase(found);
}

base::Result<std::unique_ptr<Listener>> Local::listen(const ListenRequest& request, ListenerEvents& events) {
    auto file = SocketFile::open(request.address);
    if (!file) return tl::unexpected(std::move(file).error());
    auto listener = std::make_unique<LocalListener>(std::move(*file), request, events);
    VMRPC_TRY(listener->start());
    return listener;
}

}  // namespace vmrpc::transport::local
