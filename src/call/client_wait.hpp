// How a client waits: first it looks, then it sleeps. Meanwhile it executes what the server calls.
#pragma once

#include "call/client_connection.hpp"

#include <cstdint>
#include <tuple>

namespace vmrpc::call {

/// Waits until `ready`, the deadline, or the end of the connection, and executes calls back on `lanes`, given as bits
/// by number. Returns whether it is ready.
template <class Ready>
bool ClientConnection::await(const Ready& ready, base::Deadline deadline, notify::SpinBudget& budget,
                             std::uint64_t lanes) {
    const auto ready_or_called = [&] { return ready() || calls_from_server_.pending(lanes); };
    while (await_event(ready_or_called, deadline, budget)) {
        if (ready() || is_over()) break;
        calls_from_server_.serve(lanes);
        if (deadline.passed()) break;
    }
    return ready();
}

/// The same without the calls back.
template <class Ready>
bool ClientConnection::await_event(const Ready& ready, base::Deadline deadline, notify::SpinBudget& budget) {
    if (notify::spin(budget, deadline, [&] { return ready() || is_over(); })) {
        budget.gained();
        return ready();
    }
    return deadline.passed() ? ready() : sleep(ready, deadline, budget);
}

template <class Ready>
bool ClientConnection::sleep(const Ready& ready, base::Deadline deadline, notify::SpinBudget& budget) {
    std::ignore = drain();  // what the server freed should not wait for as long as we sleep
    stats_.sleeps.fetch_add(1, std::memory_order_relaxed);
    if (budget.budget_ns() != 0) stats_.spins.fetch_add(1, std::memory_order_relaxed);
    notify::Waiter waiter(ready);
    bool is_ready = false;
    notify::sleep_after(budget, [&] { is_ready = waiters_.wait(waiter, deadline); });
    return is_ready;
}

}  // namespace vmrpc::call
