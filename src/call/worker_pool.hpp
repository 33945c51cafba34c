// Threads that run functions in place of the serving thread, and the calls that wait for them.
#pragma once

#include "base/result.hpp"
#include "call/function_table.hpp"
#include "call/running_call.hpp"
#include "call/server_frame.hpp"
#include "call/server_lane.hpp"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace vmrpc::call {

/// A call that waits for a worker, or that one executes. It is answered exactly once: by the worker, or by whoever took
/// it out of those that wait.
class PooledCall final : public RunningCall {
  public:
    void begin(ServerConnection& connection, ServerLane& on_lane, const CheckedRequest& checked,
               const FunctionTable::Entry& function);
    [[nodiscard]] ServerConnection& connection() const;

    CheckedRequest request;
    FunctionTable::Entry entry;  // a copy: the table may grow between two runs of the server
    std::list<PooledCall>::iterator place;
};

/// What the pool keeps of one connection. Under the pool's mutex.
struct ClientCalls {
    std::list<PooledCall> waiting;  // in the order in which the serving thread took them
    std::uint32_t running = 0;
    bool runs_ordered = false;  // one that runs is of an ordered function
    bool has_turn = false;      // it is among those whose turn comes
    bool is_awaited = false;    // the serving thread is to be woken when none runs
};

/// Each client's calls wait in their own queue, in private memory: as many as it has reply slots, of which none can be
/// used twice. Workers take calls from the clients in turn, so that one who floods the pool delays another's call by
/// one of its own. What a call needs to run is taken from shared memory by its worker, into the worker's one frame.
class WorkerPool {
  public:
    struct Options {
        std::uint32_t workers = 0;
        std::uint32_t most_of_a_client = 0;  // of its calls that run at a time; 0: no limit
    };
    /// `wake_server` makes the serving thread look around; it is called under a mutex of the pool's, and must not
    /// block.
    WorkerPool(const Options& options, std::function<void()> wake_server);
    WorkerPool(const WorkerPool&) = delete;
    WorkerPool& operator=(const WorkerPool&) = delete;
    /// end_all(), then waits for the functions that run.
    ~WorkerPool();

    /// Starts the threads, if they do not run. Errors: VMRPC_OUT_OF_RESOURCES.
    base::Status start();

    // The following are the serving thread's.

    /// Lets a worker execute a request of a pooled function. Throws std::bad_alloc, and nothing has happened.
    void add(ServerConnection& connection, ServerLane& lane, const CheckedRequest& request,
             const FunctionTable::Entry& entry);
    /// Cancels the call with that sequence on that lane, if there is one: one that waits is answered VMRPC_CANCELLED,
    /// one that runs can see it.
    void cancel(ServerConnection& connection, const ServerLane& lane, std::uint64_t sequence);
    /// Whether functions run for a connection that is over; its calls that wait are dropped. If so the server is woken
    /// when the last of them has returned. To be asked again then.
    bool keeps(ServerConnection& connection);
    /// Whether functions run for a connection. If so the server is woken when none does. To be asked again then.
    bool runs_for(ServerConnection& connection);
    /// Whether no call waits or runs. If not, the server is woken once there is none.
    [[nodiscard]] bool is_idle();
    /// Answers what waits with VMRPC_SHUTTING_DOWN, and cancels what runs.
    void end_all();

  private:
    using Place = std::list<PooledCall>::iterator;
    void work(ServerFrame& frame);
    PooledCall* next();
    [[nodiscard]] Place first_runnable(ClientCalls& calls) const;
    [[nodiscard]] bool has_runnable() const;
    void finish(PooledCall& call);
    void drop(std::list<PooledCall>& from, Place place);

    const Options options_;
    const std::function<void()> wake_server_;
    std::vector<std::unique_ptr<ServerFrame>> frames_;  // one for each thread
    std::vector<std::thread> threads_;

    std::mutex mutex_;
    std::condition_variable has_work_;
    // Under mutex_:
    std::list<ServerConnection*> turns_;  // clients with calls that wait
    std::list<PooledCall> running_;       // one for each worker at most
    std::list<PooledCall> spare_;         // kept, so that a call needs no memory
    std::size_t count_ = 0;               // of calls that wait or run
    std::uint32_t idle_workers_ = 0;
    bool waits_for_idle_ = false;  // the serving thread does
    bool is_stopping_ = false;
};

}  // namespace vmrpc::call
