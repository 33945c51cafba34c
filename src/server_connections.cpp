// The server's connections: who comes, who goes.
#include "base/log.hpp"
#include "server.hpp"

#include <sys/epoll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <tuple>
#include <utility>

namespace vmrpc {
namespace {

const base::Error kClientLost{VMRPC_PEER_LOST, "the client has died or closed the connection"};

}  // namespace

void ServerLoop::opened(std::unique_ptr<transport::ServerLink> link) {
    const std::scoped_lock lock(news_mutex_);
    announce(Opened{std::move(link)});
}

// A transport may report the loss of a link that is being destroyed: it is looked at only if it is known to be there.
void ServerLoop::lost(transport::ServerLink* link) {
    const std::scoped_lock lock(news_mutex_);
    if (const auto found = by_link_.find(link); found != by_link_.end()) found->second->set_deserted();
    announce(Lost{link});
}

void ServerLoop::segment_ended(transport::ServerLink* link, heap::HeapId heap) {
    const std::scoped_lock lock(news_mutex_);
    announce(SegmentEnded{link, heap});
}

/// Requires news_mutex_.
void ServerLoop::announce(News news) {
    news_.push_back(std::move(news));
    wake();
}

/// Makes the serving thread take news. Any thread.
void ServerLoop::wake() noexcept {
    has_news_.store(true, std::memory_order_release);
    constexpr std::uint64_t kOne = 1;
    [[maybe_unused]] const auto written = ::write(wake_.get(), &kOne, sizeof kOne);
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
            if (const auto found = connections_.find(ended->link); found != connections_.end())
                ending_heaps_.push_back({found->second.get(), ended->heap});
        } else if (const auto found = connections_.find(std::get<Lost>(item).link); found != connections_.end()) {
            dismiss(*found->second, nullptr);
        }
    }
    // No function runs on this thread now that could still use such a heap.
    std::erase_if(ending_heaps_, [this](const EndingHeap& ending) {
        if (pool_ != nullptr && pool_->runs_for(*ending.connection)) return false;
        ending.connection->drop_heap(ending.heap);
        return true;
    });
    std::erase_if(leaving_, [this](Connection* connection) {
        if (pool_->keeps(*connection)) return false;
        bury(*connection);
        return true;
    });
}

void ServerLoop::admit(std::unique_ptr<transport::ServerLink> link) {
    transport::ServerLink* key = link.get();
    auto connection = Connection::make(std::move(link), {.commit = options_.commit,
                                                         .pool = pool_.get(),
                                                         .calls_per_turn = options_.calls_per_turn,
                                                         .serving = serving_,
                                                         .callback_limit_ns = options_.callback_limit_ns});
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
    Connection& admitted = *connection;
    const vmrpc_caller& caller = connection->caller();
    base::log().info("connection {} opened: pid {}, uid {}", caller.connection_number, caller.pid, caller.uid);
    {
        const std::scoped_lock lock(news_mutex_);
        by_link_.emplace(key, connection.get());
    }
    roster_.add(*connection);
    connections_.emplace(key, std::move(connection));
    if (options_.on_open != nullptr) options_.on_open(&caller, options_.user);
    watch(admitted);  // last: calls to the client that on_open makes take its rings
}

/// A new connection is idle at first: its client rings, so that many which come and do nothing slow down nobody. Only
/// what that one has posted before has to be looked for.
void ServerLoop::watch(Connection& connection) {
    connection.arm();
    // Pairs with the client's fence between posting and reading our ring-me generation (must_ring).
    std::atomic_thread_fence(std::memory_order_seq_cst);
    connection.is_hot = connection.pending();
    if (connection.is_hot)
        hot_.push_back(&connection);
    else
        ++idle_count_;
}

/// Ends a connection; the client is told the reason, if there is one and it is still there. It stays mapped for as long
/// as workers run its functions.
void ServerLoop::dismiss(Connection& connection, const base::Error* reason) {
    if (connection.is_leaving) return;
    connection.is_leaving = true;
    if (reason != nullptr) connection.hang_up(*reason);
    if (std::erase(hot_, &connection) == 0) --idle_count_;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection.link().ring_descriptor(), nullptr);
    if (pool_ != nullptr && pool_->keeps(connection)) {
        connection.end(reason != nullptr ? *reason : kClientLost);
        leaving_.push_back(&connection);
        return;
    }
    bury(connection);
}

/// The last of a connection that was dismissed.
void ServerLoop::bury(Connection& connection) {
    const std::uint64_t number = connection.caller().connection_number;
    std::erase_if(ending_heaps_, [&](const EndingHeap& ending) { return ending.connection == &connection; });
    connection.end(kClientLost);  // for those who hold it; the first reason stays
    if (options_.on_close != nullptr) options_.on_close(&connection.caller(), options_.user);
    {
        const std::scoped_lock lock(news_mutex_);
        by_link_.erase(&connection.link());
    }
    roster_.remove(connection);
    connections_.erase(&connection.link());
    base::log().info("connection {} closed", number);
}

}  // namespace vmrpc
