// A call while its function runs: what the function can ask of it, beside its connection.
#pragma once

#include "base/clock.hpp"

#include <atomic>
#include <string>
#include <utility>

namespace vmrpc::call {

class ServerConnection;

/// One for each call that runs, or waits for a worker; the calls that the serving thread executes itself share one for
/// each connection. Belongs to the thread that runs the function, but for cancel().
class RunningCall {
  public:
    RunningCall() = default;
    explicit RunningCall(ServerConnection* connection) : connection_(connection) {}

    [[nodiscard]] ServerConnection* connection() const { return connection_; }
    /// When the caller gives up; never if it has no limit.
    base::Deadline deadline;

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
    /// Whether nobody waits for the result: cancelled, its time has passed, the client is gone, or the connection over.
    [[nodiscard]] bool is_in_vain() const;

    /// The call that this thread executes; nullptr outside of one.
    static RunningCall* current();
    /// After frames that would have done so were abandoned.
    static void set_current(RunningCall* call);

  protected:
    /// Makes it another call's.
    void begin(ServerConnection& connection, base::Deadline ends) {
        connection_ = &connection;
        deadline = ends;
        has_failed = false;
        cancel_came_.store(false, std::memory_order_relaxed);
    }

  private:
    ServerConnection* connection_ = nullptr;
    std::atomic<bool> cancel_came_{false};
};

}  // namespace vmrpc::call
