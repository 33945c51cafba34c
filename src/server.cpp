#include "server.hpp"

#include "base/cpu.hpp"
#include "base/log.hpp"
#include "notify/fork_guard.hpp"

#include <fmt/format.h>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace vmrpc {
namespace {

/// A hot connection that was quiet for so many rounds while others were not becomes an idle one.
constexpr std::uint32_t kQuietRounds = 4096;
/// While some connections are hot, the idle ones' rings are looked at once in so many turns.
constexpr std::uint32_t kTurnsPerLook = 256;

const notify::SpinBudget kNoSpinning(notify::SpinBudget::kNever);
const base::Error kServerClosed{VMRPC_PEER_LOST, "the server was closed"};

}  // namespace

base::Result<std::unique_ptr<ServerLoop>> ServerLoop::listen(const ServeOptions& options) {
    std::unique_ptr<ServerLoop> server(new ServerLoop(options));
    VMRPC_TRY(server->open());
    return server;
}

ServerLoop::ServerLoop(const ServeOptions& options)
    : options_(options),
      process_generation_(notify::process_generation()),
      spin_(options.spin_ns),
      frame_(std::make_unique<call::ServerFrame>()) {}

base::Status ServerLoop::open() {
    epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
    wake_.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!epoll_.valid() || !wake_.valid()) return base::fail_errno("cannot make the server's descriptors", errno);
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.ptr = nullptr}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0)
        return base::fail_errno("cannot watch the server's descriptors", errno);
    auto listener = transport::listen(
        {.address = options_.address, .most = options_.most, .max_connections = options_.max_connections}, *this);
    VMRPC_TRY(listener);
    listener_ = *std::move(listener);
    return {};
}

ServerLoop::~ServerLoop() {
    if (!is_ours()) {
        // Made by the parent of this process: the memory is not mapped here.
        for (auto& [link, connection] : connections_) std::ignore = connection.release();
        std::ignore = listener_.release();
        return;
    }
    listener_.reset();  // from here on no news
    take_news();
    while (!connections_.empty()) dismiss(*connections_.begin()->second, &kServerClosed);
}

bool ServerLoop::is_ours() const {
    return process_generation_ == notify::process_generation();
}

base::Status ServerLoop::add(const call::FunctionTable::Entry& entry) {
    if (is_running())
        return base::fail(
            VMRPC_BAD_ARGUMENT,
            fmt::format("{} cannot be added while the server runs: add functions before", entry.function->name()));
    return functions_.add(entry);
}

base::Status ServerLoop::run() {
    if (!is_ours()) return base::fail(VMRPC_CLOSED, "the server belongs to the process that forked this one");
    if (running_.exchange(true, std::memory_order_acq_rel))
        return base::fail(VMRPC_BAD_ARGUMENT, "the server is running already: one thread serves it");
    serve();
    stopping_.store(false, std::memory_order_relaxed);
    running_.store(false, std::memory_order_release);
    return {};
}

void ServerLoop::stop() noexcept {
    stopping_.store(true, std::memory_order_release);
    constexpr std::uint64_t kOne = 1;
    [[maybe_unused]] const auto written = ::write(wake_.get(), &kOne, sizeof kOne);
}

void ServerLoop::opened(std::unique_ptr<transport::ServerLink> link) {
    announce(Opened{std::move(link)});
}
void ServerLoop::lost(transport::ServerLink* link) {
    announce(Lost{link});
}

void ServerLoop::segment_ended(transport::ServerLink* link, heap::HeapId heap) {
    announce(SegmentEnded{link, heap});
}

void ServerLoop::announce(News news) {
    const std::scoped_lock lock(news_mutex_);
    news_.push_back(std::move(news));
    has_news_.store(true, std::memory_order_release);
    constexpr std::uint64_t kOne = 1;
    [[maybe_unused]] const auto written = ::write(wake_.get(), &kOne, sizeof kOne);
}

void ServerLoop::serve() {
    only_cpu_ = base::only_cpu();
    for (auto& [link, connection] : connections_) tell_cpu(*connection);
    const auto stopping = [this] { return stopping_.load(std::memory_order_acquire); };
    while (!stopping()) {
        const auto& budget = can_gain_by_spinning() ? spin_ : kNoSpinning;
        if (notify::spin(budget, {}, [&] { return round() || stopping(); })) {
            spin_.gained();
            continue;
        }
        const std::int64_t start_ns = base::now_ns();
        sleep();
        spin_.slept(base::now_ns() - start_ns + spin_.budget_ns());
    }
}

/// A VM has numbers of its own for its CPUs, which tell nothing here, nor ours there.
void ServerLoop::tell_cpu(const Connection& connection) const {
    connection.control().server.poller_cpu.store_relaxed(connection.caller().vm == 0 ? only_cpu_ : -1);
}

/// Not if every client in use can only run on the one CPU that we run on.
bool ServerLoop::can_gain_by_spinning() const {
    if (only_cpu_ < 0) return true;
    return std::any_of(hot_.begin(), hot_.end(), [this](const Connection* connection) {
        return connection->caller().vm != 0 || connection->control().client.only_cpu.load_relaxed() != only_cpu_;
    });
}

/// Serves what is there on every hot connection. In as few loads as can be if there is nothing; the rest is looked at
/// once in a while. Returns whether there was anything.
bool ServerLoop::round() {
    bool busy = ++turns_ % kTurnsPerLook == 0 && look_around();
    if (has_news_.load(std::memory_order_acquire)) {
        take_news();
        busy = true;
    }
    for (std::size_t i = 0; i < hot_.size();) {
        Connection& connection = *hot_[i];
        if (connection.poll(functions_, *frame_)) {
            busy = true;
            connection.quiet_rounds = 0;
        }
        if (connection.is_over()) [[unlikely]] {
            const base::Error reason = connection.usable().error();
            dismiss(connection, &reason);  // takes it out of hot_
        } else {
            ++i;
        }
    }
    if (busy && hot_.size() > 1) {
        for (Connection* connection : hot_) ++connection->quiet_rounds;
    }
    return busy;
}

/// Returns whether a client had freed something.
bool ServerLoop::look_around() {
    if (idle_count_ != 0) look_at_rings(0);
    if (hot_.size() > 1 && !spin_.is_endless()) demote_quiet();
    bool freed = false;
    for (Connection* connection : hot_) {
        if (!connection->has_remote_frees()) continue;
        std::ignore = connection->drain();  // a violation ends the connection, which the round notices
        freed = true;
    }
    return freed;
}

void ServerLoop::take_news() {
    std::vector<News> news;
    {
        const std::scoped_lock lock(news_mutex_);
        news.swap(news_);
        has_news_.store(false, std::memory_order_relaxed);
    }
    for (auto& item : news) {
        if (auto* opened = std::get_if<Opened>(&item)) {
            admit(std::move(opened->link));
        } else if (const auto* ended = std::get_if<SegmentEnded>(&item)) {
            // No function runs on this thread now that could still use it.
            const auto found = connections_.find(ended->link);
            if (found != connections_.end()) found->second->drop_heap(ended->heap);
        } else if (const auto found = connections_.find(std::get<Lost>(item).link); found != connections_.end()) {
            dismiss(*found->second, nullptr);
        }
    }
}

void ServerLoop::admit(std::unique_ptr<transport::ServerLink> link) {
    transport::ServerLink* key = link.get();
    auto connection = std::make_unique<Connection>(std::move(link), options_.commit);
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.ptr = connection.get()}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, key->ring_descriptor(), &event) != 0) {
        const auto error = base::fail_errno("cannot watch a new connection", errno).value();
        base::log().error("{}", error.text);
        connection->hang_up(error);
        return;
    }
    if (const auto prepared = connection->prepare_heap(connection->link(), options_.preparation); !prepared) {
        base::log().error("connection {} refused: {}", connection->caller().connection_number, prepared.error().text);
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, key->ring_descriptor(), nullptr);
        connection->hang_up(prepared.error());
        return;
    }
    tell_cpu(*connection);
    hot_.push_back(connection.get());
    const vmrpc_caller& caller = connection->caller();
    base::log().info("connection {} opened: pid {}, uid {}", caller.connection_number, caller.pid, caller.uid);
    connections_.emplace(key, std::move(connection));
    if (options_.on_open != nullptr) options_.on_open(&caller, options_.user);
}

/// Ends a connection; the client is told the reason, if there is one and it is still there.
void ServerLoop::dismiss(Connection& connection, const base::Error* reason) {
    const std::uint64_t number = connection.caller().connection_number;
    if (reason != nullptr) connection.hang_up(*reason);
    if (options_.on_close != nullptr) options_.on_close(&connection.caller(), options_.user);
    if (std::erase(hot_, &connection) == 0) --idle_count_;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection.link().ring_descriptor(), nullptr);
    connections_.erase(&connection.link());
    base::log().info("connection {} closed", number);
}

/// Hot connections that others outrun become idle: polling them is in vain, and they can ring.
void ServerLoop::demote_quiet() {
    for (std::size_t i = 0; i < hot_.size();) {
        Connection& connection = *hot_[i];
        if (connection.quiet_rounds < kQuietRounds) {
            ++i;
            continue;
        }
        connection.arm();
        // Pairs with the client's fence between posting and reading our ring-me generation (must_ring).
        std::atomic_thread_fence(std::memory_order_seq_cst);
        connection.quiet_rounds = 0;
        if (connection.pending()) {
            ++i;
            continue;
        }
        connection.is_hot = false;
        hot_.erase(hot_.begin() + static_cast<std::ptrdiff_t>(i));
        ++idle_count_;
    }
}

void ServerLoop::sleep() {
    if (arm_all()) look_at_rings(-1);
}

/// Makes every connection idle. False: something came meanwhile, and some connections are hot again.
bool ServerLoop::arm_all() {
    for (Connection* connection : hot_) connection->arm();
    // Arm, then look: pairs with the client's fence in must_ring(), so that either it rings or we see its request.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const std::size_t before = hot_.size();
    std::erase_if(hot_, [](Connection* connection) { return !(connection->is_hot = connection->pending()); });
    idle_count_ += before - hot_.size();
    return hot_.empty();
}

void ServerLoop::look_at_rings(int timeout_ms) {
    std::array<epoll_event, 64> events;
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
    for (int i = 0; i < count; ++i) {
        auto* connection = static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr);
        if (connection == nullptr || connection->is_hot) continue;
        connection->quiet_rounds = 0;
        connection->is_hot = true;
        hot_.push_back(connection);
        --idle_count_;
    }
}

}  // namespace vmrpc
