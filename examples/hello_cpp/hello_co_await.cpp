// Calls the hello server from coroutines, of which many wait at once on one thread: hello_co_await [ADDRESS].
#include "hello.hpp"

#include <coroutine>
#include <cstdio>
#include <exception>
#include <vector>

namespace {

/// A coroutine that runs at once, and that nobody waits for.
struct Task {
    // NOLINTBEGIN(readability-identifier-naming): names that the language looks up
    struct promise_type {
        static Task get_return_object() { return {}; }
        static std::suspend_never initial_suspend() noexcept { return {}; }
        static std::suspend_never final_suspend() noexcept { return {}; }
        static void return_void() {}
        static void unhandled_exception() { std::terminate(); }
    };
    // NOLINTEND(readability-identifier-naming)
};

struct Totals {
    std::uint64_t sum_of_squares = 0;
    int failed = 0;
};

// NOLINTBEGIN(readability-static-accessed-through-instance): the compiler does that, in what it makes of co_await

/// Adds the squares below `count` to the totals. What the server returns is in the heap, and owned here.
Task add_squares(const vmrpc::Client& client, std::uint32_t count, Totals& totals) {
    const auto numbers = co_await client.async<squares>(count);
    if (!numbers) {
        std::fprintf(stderr, "%s\n", numbers.error().message().c_str());
        ++totals.failed;
        co_return;
    }
    for (const std::uint64_t number : *numbers) totals.sum_of_squares += number;
}

/// One call after the other, without holding up the others.
Task count_up(const vmrpc::Client& client, std::int64_t& counter, Totals& totals) {
    for (std::int64_t step = 1; step <= 3; ++step) {
        const auto advanced = co_await client.async<advance>(counter, step);  // written back when it is answered
        if (!advanced) ++totals.failed;
    }
}

// NOLINTEND(readability-static-accessed-through-instance)

}  // namespace

int main(int argc, char** argv) {
    const auto client = vmrpc::Client::connect(argc > 1 ? argv[1] : "local:/tmp/vmrpc-hello.sock");
    if (!client) {
        std::fprintf(stderr, "%s\n", client.error().message().c_str());
        return 1;
    }
    Totals totals;
    std::int64_t counter = 36;
    for (std::uint32_t count = 1; count <= 100; ++count) add_squares(*client, count, totals);
    count_up(*client, counter, totals);
    // The loop that everything happens in: poll() resumes what has been answered, until nobody waits any more.
    while (const auto resumed = client->poll(std::chrono::seconds(10))) {
        if (*resumed == 0) break;
    }
    std::printf("sum of squares: %llu\ncounter: %lld\n", static_cast<unsigned long long>(totals.sum_of_squares),
                static_cast<long long>(counter));
    return totals.failed == 0 ? 0 : 1;
}
