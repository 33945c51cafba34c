// A server: an address, functions, connections, and the loop that serves them.
#pragma once

#include "base/fd.hpp"
#include "base/result.hpp"
#include "call/function_table.hpp"
#include "call/handle.hpp"
#include "call/server_connection.hpp"
#include "call/worker_pool.hpp"
#include "notify/spin.hpp"
#include "server_report.hpp"
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

inline constexpr std::uint32_t kMostWorkers = 1024;

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
    std::uint32_t workers = 0;
    std::uint32_t max_client_calls = 0;  // that workers run at a time for one client; 0: no limit
    std::uint32_t calls_per_turn = 64;   // of one client, before the next one has its turn
    std::int64_t callback_limit_ns = 0;  // of calls back without a limit of their own; 0: none
    std::int64_t drain_limit_ns = 0;     // for what runs when the server is stopped; 0: no limit; below: none is left
};

/// Serves any number of connections on the thread that calls run() or poll(). Connections in use are polled; the others
/// are idle: they were asked to ring, and are watched through one epoll descriptor. Pooled functions run on workers.
class ServerLoop final : public vmrpc_server, private transport::ListenerEvents {
  public:
    /// Opens the address. Errors: those of transport::listen.
    static base::Result<std::unique_ptr<ServerLoop>> listen(const ServeOptions& options);
    /// Ends every connection, when the workers' functions have returned. Requires that run() does not run.
    ~ServerLoop() override;

    /// Errors: VMRPC_BAD_ARGUMENT (there already; pooled without workers; the server is served).
    base::Status add(const call::FunctionTable::Entry& entry, const call::Execution& execution);

    /// Serves until stop(), then drains. Errors: VMRPC_BAD_ARGUMENT (running already), VMRPC_CLOSED (the parent's
    /// server), VMRPC_OUT_OF_RESOURCES (a worker cannot be started).
    base::Status run();
    /// Serves what is there, and returns how many requests it took; does not block. After 0 the descriptor becomes
    /// readable when there is something to do. Errors: those of run(); VMRPC_SHUTTING_DOWN once a stop() is carried
    /// out.
    base::Result<std::uint64_t> poll();
    /// An epoll descriptor; the server's own.
    [[nodiscard]] int descriptor() const { return epoll_.get(); }
    /// Makes run() turn new calls away and return when those that it took are answered; the second time: at once. Any
    /// thread, and signal handlers.
    void stop() noexcept;
    /// The counters, as JSON (docs/STATS.md). Any thread, but not while functions are added. Throws std::bad_alloc.
    [[nodiscard]] std::string report() const;
    [[nodiscard]] bool is_running() const { return running_.load(std::memory_order_acquire); }
    /// Whether this process made the server, and not its parent before a fork.
    [[nodiscard]] bool is_ours() const;
    /// Whether this thread executes a call of one of its clients.
    [[nodiscard]] bool is_serving_here() const;

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
    struct EndingHeap {
        Connection* connection;
        heap::HeapId heap;
    };
    using News = std::variant<Opened, Lost, SegmentEnded>;

    explicit ServerLoop(const ServeOptions& options);
    base::Status open();
    void opened(std::unique_ptr<transport::ServerLink> link) override;
    void lost(transport::ServerLink* link) override;
    void segment_ended(transport::ServerLink* link, heap::HeapId heap) override;
    void announce(News news);

    base::Status begin();
    void serve();
    void begin_draining();
    void drain();
    [[nodiscard]] bool is_drained();
    void end_serving();
    bool round();
    bool look_around();
    void wake() noexcept;
    void note_cpu();
    void tell_cpu(const Connection& connection) const;
    [[nodiscard]] bool can_gain_by_spinning() const;
    void take_news();
    void admit(std::unique_ptr<transport::ServerLink> link);
    void watch(Connection& connection);
    void dismiss(Connection& connection, const base::Error* reason);
    void bury(Connection& connection);
    void demote_quiet();
    void sleep();
    bool arm_all();
    void look_at_rings(int timeout_ms);
    [[nodiscard]] std::uint32_t stops() const { return stops_.load(std::memory_order_acquire); }

    ServeOptions options_;
    call::FunctionTable functions_;
    Roster roster_;
    call::Counter sleeps_;
    std::int64_t started_ns_;
    std::uint32_t process_generation_;
    base::Fd epoll_;
    base::Fd wake_;  // eventfd: news, or stop
    std::unique_ptr<transport::Listener> listener_;
    std::unique_ptr<call::WorkerPool> pool_;  // nullptr without workers
    std::shared_ptr<call::ServingThread> serving_;

    // The serving thread's:
    std::unordered_map<transport::ServerLink*, Connection::Owned> connections_;
    std::vector<Connection*> hot_;          // polled
    std::size_t idle_count_ = 0;            // armed, watched
    std::vector<Connection*> leaving_;      // over, kept for functions that run
    std::vector<EndingHeap> ending_heaps_;  // ended by clients, mapped for functions that run
    call::Counter turns_;                   // rounds
    call::Counter busy_turns_;              // those that found something
    std::uint64_t taken_ = 0;               // requests, ever
    bool is_draining_ = false;              // new calls are turned away
    base::Deadline drain_limit_;            // for that
    int only_cpu_ = -1;                     // of the serving thread, -1 if it may use several
    notify::SpinBudget spin_;
    std::unique_ptr<call::ServerFrame> frame_;

    std::mutex news_mutex_;
    std::vector<News> news_;                                                 // under news_mutex_
    std::unordered_map<const transport::ServerLink*, Connection*> by_link_;  // under news_mutex_: those that are there
    /// There is news. Release after it was put down; pairs with the serving thread's acquire.
    std::atomic<bool> has_news_{false};
    /// Calls of stop() that are not carried out. Release by stop(), acquire by the serving thread: what came before
    /// stop() is seen after run().
    std::atomic<std::uint32_t> stops_{0};
    std::atomic<bool> running_{false};
    /// poll() was called, and no stop() was carried out since. relaxed: a hint against misuse.
    std::atomic<bool> is_polled_{false};
};

}  // namespace vmrpc
