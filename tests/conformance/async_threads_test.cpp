// Conformance: one-way calls, and asynchronous calls of many threads.
#include "conformance/held_word.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace conformance {
namespace {

using std::chrono::milliseconds;

TEST_F(Calls, OneWayCallsAreExecutedAndForgotten) {
    const auto client = connect();
    auto counted = client.call<who>().value().calls;
    for (int i = 0; i < 1'000; ++i) ASSERT_TRUE(client.post<who>());
    ASSERT_TRUE(client.post<iota>(1'000));
    ASSERT_TRUE(client.post<sum>(std::vector<double>(1'000, 1.0)));
    EXPECT_TRUE(soon([&] { return client.call<who>().value().calls > counted + 1'000; }));
    EXPECT_TRUE(soon([&] { return client.stats().live_blocks == 0; }));
    EXPECT_TRUE(soon([&] { return client.call<server_heap>().value().live_blocks == 0; }));
    EXPECT_EQ(client.stats().one_way_errors, 0U);
    EXPECT_EQ(client.stats().calls_abandoned, 0U);
    EXPECT_EQ(client.last_one_way_error().status, VMRPC_OK);
    for (int i = 0; i < 40; ++i) ASSERT_TRUE(client.post<fail>("number " + std::to_string(i)));
    EXPECT_TRUE(soon([&] { return client.stats().one_way_errors == 40; }));
    EXPECT_EQ(client.last_one_way_error().status, VMRPC_FUNCTION_FAILED);
    EXPECT_EQ(client.last_one_way_error().text, "number 39");
    const auto nowhere = client.post<vmrpc::named<"conformance::nowhere", void()>>();
    EXPECT_EQ(nowhere.error().status, VMRPC_UNKNOWN_FUNCTION);
    EXPECT_EQ(client.stats().live_blocks, 0U);
}

/// A turn of a thread: some of everything. Returns how many answers were wrong.
int mixed_calls(const vmrpc::Client& client, int thread, int turns) {
    int wrong = 0;
    std::vector<double> values(64, 1.0);
    for (int turn = 0; turn < turns; ++turn) {
        std::vector<vmrpc::Future<std::int64_t>> sums;
        for (int i = 0; i < 12; ++i) sums.push_back(client.async<add>(thread, i));
        auto total = client.async<sum>(values);
        { auto dropped = client.async<iota>(10); }
        wrong += client.post<null>() ? 0 : 1;
        for (int i = 0; i < 12; ++i) {
            const auto got = sums[static_cast<std::size_t>(i)].get();
            wrong += got && *got == thread + i ? 0 : 1;
        }
        const auto got = total.get();
        wrong += got && *got == 64 ? 0 : 1;
        wrong += client.call<add>(turn, thread).value() == turn + thread ? 0 : 1;
    }
    // What was given up is freed by the thread that gave it up.
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    for (bool is_settled = false; !is_settled && std::chrono::steady_clock::now() < limit;) {
        is_settled = client.async<null>().get() && client.poll() && client.stats().calls_abandoned == 0;
        std::this_thread::yield();
    }
    return wrong;
}

TEST_F(Calls, ManyThreadsStartManyCalls) {
    const auto client = connect();
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 8; ++thread)
        threads.emplace_back([&, thread] { wrong += mixed_calls(client, thread, 100); });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(client.stats().calls_abandoned, 0U);
    EXPECT_EQ(client.stats().live_blocks, 0U);
    EXPECT_TRUE(soon([&] { return client.call<server_heap>().value().live_blocks == 0; }));
}

TEST_F(Calls, SeveralThreadsPollAtOnce) {
    const auto client = connect();
    ASSERT_TRUE((client.require<add, iota>()));
    constexpr int each = 300;
    constexpr int most_in_flight = 200;
    std::atomic<int> started{0};
    std::atomic<int> ended{0};
    std::atomic<int> told{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&, thread] {
            for (int i = 0; i < each; ++i) {
                if (i % 3 == 0) client.async<iota>(i).then([&](const auto& made) { told += made ? 1 : 0, ++ended; });
                if (i % 3 != 0)
                    client.async<add>(thread, i).then([&, expected = thread + i](const auto& sum) {
                        told += sum && *sum == expected ? 1 : 0, ++ended;
                    });
                for (++started; started - ended > most_in_flight;) EXPECT_TRUE(client.poll(milliseconds(1)));
            }
            while (ended < 4 * each) EXPECT_TRUE(client.poll(milliseconds(1)));
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(told, 4 * each);
    EXPECT_TRUE(soon([&] { return client.call<server_heap>().value().live_blocks == 0; }));
}

}  // namespace
}  // namespace conformance
