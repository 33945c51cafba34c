// One of a stress client's threads: makes calls of every kind, checks what comes back, and notes what became of each.
#pragma once

#include "process/stress_calls.hpp"
#include "process/stress_watch.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <random>
#include <span>
#include <string_view>
#include <vector>

namespace stress {

/// Says what is wrong, on standard output, and ends the process.
[[noreturn]] void wrong(std::string_view what);

/// What the threads of a client share.
struct Client {
    vmrpc::Client connection;
    std::uint32_t number;
    Watch& watch;

    std::atomic<std::uint64_t> untold{0};                        // calls whose then() has yet to be run
    std::atomic<std::uint64_t> failing_one_way{0};               // posted one-way calls of the function that fails
    std::array<std::atomic<std::uint64_t>, kThreads> answers{};  // calls back that ran, by thread whose call it was
    std::mutex mutex{};
    std::vector<std::function<void()>> shelf{};  // under mutex: futures to be completed by another thread
};

class Caller {
  public:
    Caller(Client& client, std::uint32_t number);

    /// Makes calls until then, and takes what the others have left on the shelf.
    void call_until(std::chrono::steady_clock::time_point end);
    /// Waits until nothing of the client's is in flight, and all that it held is free. When all threads have called.
    void settle_all();

    /// Of all its calls, by number.
    [[nodiscard]] const std::deque<Posted>& ledger() const { return ledger_; }

  private:
    using Finish = std::function<void()>;

    void values();
    void digest();
    void shift();
    void squares();
    void fail();
    void one_way();
    void within_limit();
    void data_within_limit();
    void futures();
    void told();
    void ask();
    void visit();

    Finish start_add();
    Finish start_squares();
    Finish start_dawdle();
    template <class R, class Check>
    Finish finish_some_way(vmrpc::Future<R> future, Posted& call, bool may_end_early, Check check);
    void put_on_shelf(std::vector<Finish>& flights);
    void take_from_shelf();

    Posted& next(Function function, Ticket& ticket);
    [[nodiscard]] std::uint64_t any(std::uint64_t least, std::uint64_t most);
    [[nodiscard]] bool one_in(std::uint64_t count) { return any(1, count) == 1; }
    std::size_t any_count();
    vmrpc::Array<std::uint64_t> any_data();
    [[nodiscard]] const vmrpc::Client& server() const { return client_.connection; }

    Client& client_;
    const std::uint32_t number_;
    std::minstd_rand random_;
    std::deque<Posted> ledger_;  // elements keep their place: other threads may end a call
};

}  // namespace stress
