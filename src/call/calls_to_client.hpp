// Calls back, the server's end: functions of a client's that the server calls, during a call of the client's or between
// two.
#pragma once

#include "base/clock.hpp"
#include "base/result.hpp"
#include "call/callback_lane.hpp"
#include "call/function.hpp"
#include "call/running_call.hpp"
#include "notify/spin.hpp"

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace vmrpc::call {

class ServerConnection;

/// Those of one connection. During a call the request goes to the lane of that call, where the client's thread waits;
/// else to the connection's last lane, where threads wait that serve (ClientConnection::serve). While the serving
/// thread waits for the reply it serves what the client's function calls, so that a cycle of calls comes to its end;
/// other threads only wait. Threads: any, unless said otherwise.
class CallsToClient {
  public:
    explicit CallsToClient(ServerConnection& connection);
    CallsToClient(const CallsToClient&) = delete;
    CallsToClient& operator=(const CallsToClient&) = delete;

    /// Calls a function of the client's and waits for its reply, up to limit_ns (0: no limit) and the limit of the call
    /// that it is made in. Errors: VMRPC_UNKNOWN_FUNCTION, VMRPC_SIGNATURE_MISMATCH, those of encode_arguments() and of
    /// the function, VMRPC_NESTED_TOO_DEEP, VMRPC_BUSY (no reply slot), VMRPC_HEAP_FULL (for a large frame),
    /// VMRPC_TIMED_OUT, VMRPC_CANCELLED (the call that it is made in was), VMRPC_PEER_LOST, VMRPC_POISONED (and the
    /// connection is over), VMRPC_NOT_SUPPORTED (by a function on its caller's RPC stack).
    base::Status call(const Registered& function, std::int64_t limit_ns, void* const* arguments, void* result);

    /// Whether calls are on their way: then a client's nested ones are part of what runs.
    [[nodiscard]] bool are_in_flight() const { return in_flight_.load(std::memory_order_relaxed) != 0; }
    /// Whether a thread sleeps whose reply is there.
    [[nodiscard]] bool has_answered() const;
    /// Wakes those. By the serving thread, in each turn.
    void wake_answered();

  private:
    struct Exchange;  // one call on its way
    /// A thread that sleeps for its reply. On that thread's stack.
    struct Sleeping {
        const CallbackRequests& lane;
        std::uint32_t slot;
        std::uint64_t sequence;
        /// Changed (release) under the mutex before the wake-up; pairs with the acquire before the sleep.
        std::atomic<std::uint32_t> signal{0};
        [[nodiscard]] bool is_answered() const { return lane.is_answered(slot, sequence); }
    };

    base::Result<std::uint32_t> index_of(const Registered& function, Exchange& like);
    base::Status exchange(Exchange& call);
    base::Status post(Exchange& call);
    base::Status place_frame(Exchange& call) const;
    bool wait(const Exchange& call);
    bool wait_serving(const Exchange& call);
    bool sleep(const Exchange& call);
    [[nodiscard]] bool is_settled(const Exchange& call) const;
    base::Status finish(Exchange& call);
    base::Status take_reply(Exchange& call);
    base::Status poisoned(std::string text);
    base::Status give_up(Exchange& call);
    CallbackRequests& lane(std::uint32_t number);
    void sweep(CallbackRequests& lane);

    ServerConnection& connection_;
    notify::SpinBudget serving_budget_;  // the serving thread's
    std::atomic<std::uint32_t> in_flight_{0};
    /// Threads in sleeping_. A hint, so that each turn need not take the mutex: who sleeps looks itself now and then.
    std::atomic<std::uint32_t> sleeping_count_{0};
    mutable std::mutex mutex_;
    // Under mutex_:
    std::vector<std::unique_ptr<CallbackRequests>> lanes_;    // made when first used
    std::unordered_map<std::uint32_t, std::uint32_t> known_;  // Registered::id -> the client's index
    std::list<Sleeping*> sleeping_;
};

}  // namespace vmrpc::call
