// The server's end of a connection: takes requests from its lanes and executes them.
#pragma once

#include "base/result.hpp"
#include "call/calls_to_client.hpp"
#include "call/counters.hpp"
#include "call/endpoint.hpp"
#include "call/function_table.hpp"
#include "call/running_call.hpp"
#include "call/server_frame.hpp"
#include "call/server_lane.hpp"
#include "call/serving_thread.hpp"
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
        std::shared_ptr<ServingThread> serving = nullptr;  // needed to call functions of the client's
        std::int64_t callback_limit_ns = 0;                // of calls back without a limit of their own; 0: none
    };
    /// By drop().
    ~ServerConnection() override;
    struct Drop {
        void operator()(ServerConnection* connection) const { connection->drop(); }
    };
    using Owned = std::unique_ptr<ServerConnection, Drop>;
    static Owned make(std::unique_ptr<transport::ServerLink> link, const Options& options) {
        return Owned(new ServerConnection(std::move(link), options));
    }

    /// Executes the requests that are there, or hands them to the pool, at most calls_per_turn of them, then takes the
    /// client's frees. Returns how many there were. The connection may be over afterwards: usable() says so.
    /// `is_alone`: nobody else waits to be served, so that a single lane is looked at more than once.
    std::uint32_t poll(const FunctionTable& functions, ServerFrame& frame, bool is_alone);
    /// The same, but answers the user's functions with VMRPC_SHUTTING_DOWN. The library's own are executed: what runs
    /// still may need them.
    std::uint32_t turn_away(const FunctionTable& functions, ServerFrame& frame);

    /// Executes requests that functions of ours wait for which wait for the client: those that the client's functions
    /// make, what is before them on their lanes, and the library's own. By the serving thread in such a function.
    /// Returns how many there were.
    std::uint32_t serve_nested();
    [[nodiscard]] bool has_nested();
    /// Calls a function of the client's, as CallsToClient::call().
    base::Status call_back(const Registered& function, std::int64_t limit_ns, void* const* arguments, void* result);
    [[nodiscard]] std::int64_t callback_limit_ns() const { return callback_limit_ns_; }
    /// Whether this thread serves the connection.
    [[nodiscard]] bool is_serving_here() const { return serving_ != nullptr && serving_->is_here(); }
    /// Rings the client, if it sleeps, for something that any thread has published.
    void ring_from_any_thread();
    /// Whether the client may hand over a block there: not one of this side's, unless it is trusted.
    [[nodiscard]] bool may_own(const void* block) const;

    /// Keeps the object, though not the connection, until as many drop(): what is kept by others than the server is for
    /// calls back alone. Any thread that has it now.
    // relaxed: who holds it was handed it by somebody who holds it
    void hold() { holds_.fetch_add(1, std::memory_order_relaxed); }
    /// The last one destroys it.
    void drop() {
        // acq_rel: what all holders did comes before the destruction
        if (holds_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }

    /// About to sleep: asks to be rung. The caller then makes a full fence, and looks at pending() once more.
    void arm();
    /// Whether poll() has something to do.
    [[nodiscard]] bool pending();

    /// Notes that the client is gone, for functions that run: the serving thread may be in one. Any thread.
    // relaxed: they learn of it sooner or later; nothing is published with it
    void set_deserted() { is_deserted_.store(true, std::memory_order_relaxed); }
    [[nodiscard]] bool is_deserted() const { return is_deserted_.load(std::memory_order_relaxed); }

    /// Tells the client that the connection is over, and why.
    void hang_up(const base::Error& reason);

    [[nodiscard]] transport::ServerLink& link() { return *link_; }
    [[nodiscard]] const vmrpc_caller& caller() const override { return caller_; }
    /// To be read by any thread.
    [[nodiscard]] const ConnectionCounters& counters() const { return counters_; }
    /// The server's own notes: whether it polls this connection, and for how many rounds there was nothing; whether it
    /// is over, and kept for functions that run.
    bool is_hot = false;
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
    /// Answers a call with an error. Whoever took it out of the pool's queue; any thread. `frame`: what it ran with, if
    /// it did.
    void answer(PooledCall& call, vmrpc_status status, std::string_view text, const ServerFrame* frame = nullptr);

    /// The connection of the call that this thread executes for a client; nullptr outside of one.
    static ServerConnection* current();

  private:
    ServerConnection(std::unique_ptr<transport::ServerLink> link, const Options& options);
    void on_violation(base::Error error) override { end(std::move(error)); }
    void answer_early(ServerLane& lane, std::uint32_t slot, const FunctionTable::Entry& entry, ServerFrame& frame,
                      vmrpc_status status);
    [[nodiscard]] CallsToClient* calls_to_client() const {
        // acquire: pairs with the release in call_back()
        return calls_to_client_.load(std::memory_order_acquire);
    }
    bool serve_plain(ServerLane& lane, const FunctionTable& functions, ServerFrame& frame);
    [[nodiscard]] std::uint32_t lanes_in_use();
    void make_lanes(std::uint32_t wanted);
    bool serve_any(ServerLane& lane, const FunctionTable& functions, ServerFrame& frame, bool turns_away);
    void turn_away(ServerLane& lane, const CheckedRequest& request, const FunctionTable::Entry& entry);
    void serve_here(ServerLane& lane, const CheckedRequest& request, const FunctionTable::Entry& entry,
                    ServerFrame& frame);
    bool hand_to_pool(ServerLane& lane, const CheckedRequest& request, const FunctionTable::Entry& entry);
    base::Status execute(RunningCall& call, ServerLane& lane, const CheckedRequest& request,
                         const FunctionTable::Entry& entry, ServerFrame& frame);
    base::Status run_here(RunningCall& call, const FunctionTable::Entry& entry, ServerFrame& frame);
    base::Status run_on_lent_stack(RunningCall& call, ServerLane& lane, std::byte* top,
                                   const FunctionTable::Entry& entry, ServerFrame& frame);
    base::Status check_pages(layout::Extent range);
    [[nodiscard]] bool belongs_to_running(const CheckedRequest& request) const;
    void take_frees();
    void count_plain(const FunctionTable::Entry& entry, bool is_error);
    void count(const FunctionTable::Entry& entry, vmrpc_status status, const ServerFrame* frame);
    void ring_if_asleep(ServerLane& lane);

    std::unique_ptr<transport::ServerLink> link_;
    std::vector<ServerLane> lanes_;    // those that were in use, made when they are
    RunningCall call_here_{this};      // the one that the serving thread executes, when no other waits for it
    RunningCall* here_ = &call_here_;  // the one that it executes
    std::uint32_t calls_per_turn_;
    std::uint32_t next_lane_ = 0;   // where the next turn begins
    std::uint32_t generation_ = 0;  // of our ring-me line
    WorkerPool* pool_;
    ClientCalls pooled_;
    std::shared_ptr<ServingThread> serving_;
    std::int64_t callback_limit_ns_;
    std::mutex calls_to_client_mutex_;  // for who makes it
    std::atomic<CallsToClient*> calls_to_client_{nullptr};
    std::atomic<std::uint32_t> holds_{1};
    /// The client's ring-me generation that other threads than the serving one have rung for. Release after the ring;
    /// who loads it with acquire, and leaves out its own ring for it, comes after that.
    std::atomic<std::uint32_t> worker_ring_seen_{0};
    std::atomic<bool> is_deserted_{false};
    ConnectionCounters counters_;
    void* state_ = nullptr;  // the user's
    vmrpc_caller caller_;
};

}  // namespace vmrpc::call
