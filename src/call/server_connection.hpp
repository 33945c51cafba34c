// The server's end of a connection: takes requests from its lanes and executes them.
#pragma once

#include "base/result.hpp"
#include "call/counters.hpp"
#include "call/endpoint.hpp"
#include "call/function_table.hpp"
#include "call/running_call.hpp"
#include "call/server_frame.hpp"
#include "call/server_lane.hpp"
#include "call/worker_pool.hpp"
#include "transport/transport.hpp"

#include <vmrpc/vmrpc.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace vmrpc::call {

/// One client of a server. Everything but the Endpoint part belongs to the serving thread, unless said otherwise.
class ServerConnection final : public Endpoint {
  public:
    /// Requests taken from one lane before the next one has its turn.
    static constexpr std::uint32_t kRequestsPerLane = layout::kReplySlots;

    struct Options {
        heap::CommitOptions commit = {};  // the limit and the delay of this side's arena count
        WorkerPool* pool = nullptr;       // outlives the connection; needed if a function is pooled
        std::uint32_t calls_per_turn = 64;
    };
    explicit ServerConnection(std::unique_ptr<transport::ServerLink> link);
    ServerConnection(std::unique_ptr<transport::ServerLink> link, const Options& options);
    ~ServerConnection() override;

    /// Executes the requests that are there, or hands them to the pool, at most calls_per_turn of them, then takes the
    /// client's frees. Returns how many there were. The connection may be over afterwards: usable() says so.
    std::uint32_t poll(const FunctionTable& functions, ServerFrame& frame);
    /// The same, but answers the user's functions with VMRPC_SHUTTING_DOWN. The library's own are executed: what runs
    /// still may need them.
    std::uint32_t turn_away(const FunctionTable& functions, ServerFrame& frame);

    /// About to sleep: asks to be rung. The caller then makes a full fence, and looks at pending() once more.
    void arm();
    /// Whether poll() has something to do.
    [[nodiscard]] bool pending() const;

    /// Notes that the client is gone, for functions that run: the serving thread may be in one. Any thread.
    // relaxed: they learn of it sooner or later; nothing is published with it
    // relaxed: the function learns of it sooner or later; nothing is published with it
    void set_deserted() { is_deserted_.store(true, std::memory_order_relaxed); }
    [[nodiscard]] bool is_deserted() const { return is_deserted_.load(std::memory_order_relaxed); }

    /// Tells the client that the connection is over, and why.
    void hang_up(const base::Error& reason);

    [[nodiscard]] transport::ServerLink& link() { return *link_; }
    [[nodiscard]] const vmrpc_caller& caller() const { return caller_; }
    /// To be read by any thread.
    [[nodiscard]] const ConnectionCounters& counters() const { return counters_; }
    /// The server's own notes: whether it polls this connection, and for how many rounds there was nothing; whether it
    /// is over, and kept for functions that run.
    bool is_hot = true;
    bool is_leaving = false;
    std::uint32_t quiet_rounds = 0;

    /// Commits a part of the client's arena, or gives it back, as the client has asked for. Errors: VMRPC_POISONED, and
    /// the connection is over, if it is no such part; VMRPC_OUT_OF_RESOURCES.
    base::Status commit_for_client(layout::Extent range);
    base::Status trim_for_client(layout::Extent range);

    /// The client wants the call with that sequence no more, on the lane whose request this thread serves.
    void cancel_for_client(std::uint64_t sequence);

    /// Under the pool's mutex.
    [[nodiscard]] ClientCalls& pooled() { return pooled_; }
    [[nodiscard]] const WorkerPool* pool() const { return pool_; }
    /// Executes and answers a call, or answers only if it comes too late. On a worker; the call is its own.
    void serve_pooled(PooledCall& call, ServerFrame& frame);
    /// Answers a call that does not run. Whoever took it out of the pool's queue; any thread.
    void answer(PooledCall& call, vmrpc_status status, std::string_view text);

    /// The connection of the call that this thread executes; nullptr outside of one.
    static ServerConnection* current();

  private:
    void on_violation(base::Error error) override { end(std::move(error)); }
    bool serve_plain(ServerLane& lane, const FunctionTable& functions, ServerFrame& frame);
    [[nodiscard]] std::uint32_t lanes_in_use() const;
    bool serve_any(ServerLane& lane, const FunctionTable& functions, ServerFrame& frame, bool turns_away);
    void turn_away(ServerLane& lane, const CheckedRequest& request, const FunctionTable::Entry& entry);
    void serve_here(ServerLane& lane, const CheckedRequest& request, const FunctionTable::Entry& entry,
                    ServerFrame& frame);
    void hand_to_pool(ServerLane& lane, const CheckedRequest& request, const FunctionTable::Entry& entry);
    base::Status execute(RunningCall& call, ServerLane& lane, const CheckedRequest& request,
                         const FunctionTable::Entry& entry, ServerFrame& frame);
    base::Status run_here(RunningCall& call, const FunctionTable::Entry& entry, ServerFrame& frame);
    base::Status run_on_lent_stack(RunningCall& call, ServerLane& lane, std::byte* top,
                                   const FunctionTable::Entry& entry, ServerFrame& frame);
    base::Status check_pages(layout::Extent range);
    static vmrpc_status run(RunningCall& call, const FunctionTable::Entry& entry, void* const* arguments, void* result);
    void take_frees();
    void count_plain(const FunctionTable::Entry& entry, bool is_error);
    void count(const FunctionTable::Entry& entry, vmrpc_status status, const ServerFrame* frame);
    void ring_if_asleep(ServerLane& lane);
    void ring_for_worker();

    std::unique_ptr<transport::ServerLink> link_;
    std::vector<ServerLane> lanes_;
    RunningCall call_here_{this};  // the one that the serving thread executes
    std::uint32_t calls_per_turn_;
    std::uint32_t next_lane_ = 0;        // where the next turn begins
    std::uint32_t generation_ = 0;       // of our ring-me line
    ServerLane* served_lane_ = nullptr;  // of the request that the serving thread serves, not in the short way
    WorkerPool* pool_;
    ClientCalls pooled_;
    /// The client's ring-me generation that the workers have rung for. Release after the ring; who loads it with
    /// acquire, and leaves out its own ring for it, comes after that.
    std::atomic<std::uint32_t> worker_ring_seen_{0};
    std::atomic<bool> is_deserted_{false};
    ConnectionCounters counters_;
    void* state_ = nullptr;  // the user's
    vmrpc_caller caller_;
};

}  // namespace vmrpc::call
