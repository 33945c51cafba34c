// A call while its function runs: what the function can ask of it, beside its connection.
#pragma once

#include "base/clock.hpp"

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

namespace vmrpc::call {

class Endpoint;
class ServerLane;

/// One for each call that runs, or waits for a worker; the calls that the serving thread executes itself share one for
/// each connection and level of nesting. Belongs to the thread that runs the function, but for cancel().
class RunningCall {
  public:
    RunningCall() = default;
    explicit RunningCall(Endpoint* endpoint) : endpoint_(endpoint) {}

    [[nodiscard]] Endpoint* endpoint() const { return endpoint_; }
    /// When the caller gives up; never if it has no limit.
    base::Deadline deadline;
    /// How many calls and calls back it is nested in.
    std::uint32_t depth = 0;
    /// In a server: the lane that its request came on, and its sequence there. `lane_sequence` counts where the request
    /// was taken off the lane before its function ran; on the short way it is not, and `untaken` says so.
    ServerLane* lane = nullptr;
    std::uint64_t lane_sequence = 0;
    bool untaken = false;

    /// The function will have failed with this text, when it returns.
    void fail(std::string text) {
        failure = std::move(text);
        has_failed = true;
    }
    bool has_failed = false;
    std::string failure;  // of the last function that failed

    /// The client wants the call no more. Any thread.
    // relaxed: the function learns of it sooner or later; nothing is published with it
    void cancel() { cancel_came_.store(true, std::memory_order_relaxed); }
    [[nodiscard]] bool cancel_came() const { return cancel_came_.load(std::memory_order_relaxed); }
    /// The call is over: the next one that this object stands for was not cancelled.
    void forget_cancel() { cancel_came_.store(false, std::memory_order_relaxed); }
    /// Whether nobody waits for the result: cancelled, its time has passed, the client is gone, or the connection over.
    [[nodiscard]] bool is_in_vain() const;

    /// The call that this thread executes; nullptr outside of one.
    static RunningCall* current() { return current_call; }
    /// The connection of that.
    static Endpoint* current_endpoint() { return current_call == nullptr ? nullptr : current_call->endpoint_; }
    /// After frames that would have done so were abandoned.
    static void set_current(RunningCall* call) { current_call = call; }
    /// The call that this one is nested in on its thread, of whatever connection.
    [[nodiscard]] RunningCall* outer() const { return outer_; }

    /// Makes a call the current one of this thread for as long as its function runs; functions may be nested.
    class Current {
      public:
        explicit Current(RunningCall& call) : call_(call) { call.outer_ = std::exchange(current_call, &call); }
        Current(const Current&) = delete;
        Current& operator=(const Current&) = delete;
        ~Current() { current_call = call_.outer_; }

      private:
        RunningCall& call_;
    };

  protected:
    /// Makes it another call's.
    void begin(Endpoint& endpoint, base::Deadline ends) {
        endpoint_ = &endpoint;
        deadline = ends;
        has_failed = false;
        forget_cancel();
    }

  private:
    [[gnu::tls_model("initial-exec")]] static constinit thread_local RunningCall* current_call;

    Endpoint* endpoint_ = nullptr;
    RunningCall* outer_ = nullptr;
    std::atomic<bool> cancel_came_{false};
};

}  // namespace vmrpc::call
