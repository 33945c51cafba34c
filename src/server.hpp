// A server: an address, functions, connections, and the loop that serves them.
#pragma once

#include "base/fd.hpp"
#include "base/result.hpp"
#include "call/function_table.hpp"
#include "call/handle.hpp"
#include "call/server_connection.hpp"
#include "notify/spin.hpp"
#include "transport/transport.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

namespace vmrpc {

struct ServeOptions {
    std::string address;
    transport::Wishes most;
    std::int64_t spin_ns = notify::SpinBudget::kAdaptive;
    std::uint32_t max_connections = 0;
    heap::CommitOptions commit;  // limit and delay of the server's half of each heap
    transport::Preparation preparation;
    void (*on_open)(const vmrpc_caller* caller, void* user) = nullptr;
    void (*on_close)(const vmrpc_caller* caller, void* user) = nullptr;
    void* user = nullptr;
};

/// Serves any number of connections on the thread that calls run(). Connections in use are polled; the others are idle:
/// they were asked to ring, and are watched through one epoll descriptor.
class ServerLoop final : public vmrpc_server, private transport::ListenerEvents {
  public:
    /// Opens the address. Errors: those of transport::listen.
    static base::Result<std::unique_ptr<ServerLoop>> listen(const ServeOptions& options);
    /// Ends every connection. Requires that run() does not run.
    ~ServerLoop() override;

    /// Errors: VMRPC_BAD_ARGUMENT (there already; run() is running).
    base::Status add(const call::FunctionTable::Entry& entry);

    /// Serves until stop(). Errors: VMRPC_BAD_ARGUMENT (running already), VMRPC_CLOSED (the parent's server).
    base::Status run();
    /// Makes run() return, or the next run() return at once. Any thread, and signal handlers.
    void stop() noexcept;
    [[nodiscard]] bool is_running() const { return running_.load(std::memory_order_acquire); }
    /// Whether this process made the server, and not its parent before a fork.
    [[nodiscard]] bool is_ours() const;

  private:
    using Connection = call::ServerConnection;
    struct Opened {
        std::unique_ptr<transport::ServerLink> link;
    };
    struct Lost {
        transport::ServerLink* link;
    };
    struct SegmentEnded {
        transport::ServerLink* link;
        heap::HeapId heap;
    };
    using News = std::variant<Opened, Lost, SegmentEnded>;

    explicit ServerLoop(const ServeOptions& options);
    base::Status open();
    void opened(std::unique_ptr<transport::ServerLink> link) override;
    void lost(transport::ServerLink* link) override;
    void segment_ended(transport::ServerLink* link, heap::HeapId heap) override;
    void announce(News news);

    void serve();
    bool round();
    bool look_around();
    void tell_cpu(const Connection& connection) const;
    [[nodiscard]] bool can_gain_by_spinning() const;
    void take_news();
    void admit(std::unique_ptr<transport::ServerLink> link);
    void dismiss(Connection& connection, const base::Error* reason);
    void demote_quiet();
    void sleep();
    bool arm_all();
    void look_at_rings(int timeout_ms);

    ServeOptions options_;
    call::FunctionTable functions_;
    std::uint32_t process_generation_;
    base::Fd epoll_;
    base::Fd wake_;  // eventfd: news, or stop
    std::unique_ptr<transport::Listener> listener_;

    // The serving thread's:
    std::unordered_map<transport::ServerLink*, std::unique_ptr<Connection>> connections_;
    std::vector<Connection*> hot_;  // polled
    std::size_t idle_count_ = 0;    // armed, watched
    std::uint32_t turns_ = 0;
    int only_cpu_ = -1;  // of the serving thread, -1 if it may use several
    notify::SpinBudget spin_;
    std::unique_ptr<call::ServerFrame> frame_;

    std::mutex news_mutex_;
    std::vector<News> news_;  // under news_mutex_
    /// There is news. Release after it was put down; pairs with the serving thread's acquire.
    std::atomic<bool> has_news_{false};
    /// Release by stop(), acquire by the serving thread: what came before stop() is seen after run().
    std::atomic<bool> stopping_{false};
    std::atomic<bool> running_{false};
};

}  // namespace vmrpc
