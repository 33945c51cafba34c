// Conformance: calls that are started and not waited for.
#include "conformance/held_word.hpp"

#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

namespace conformance {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

/// Longer than any test runs.
constexpr auto kLong = std::chrono::minutes(10);

TEST_F(Calls, ManyCallsAreOnTheirWayFromOneThread) {
    const auto client = connect();
    std::vector<vmrpc::Future<std::int64_t>> sums;
    for (int i = 0; i < 100; ++i) sums.push_back(client.async<add>(std::int64_t{i} << 32, i));
    for (std::size_t i = sums.size(); i-- > 0;)
        ASSERT_EQ(sums[i].get().value(), (static_cast<std::int64_t>(i) << 32) + static_cast<std::int64_t>(i));
    EXPECT_EQ(client.call<add>(1, 2).value(), 3);
}

TEST_F(Calls, AFutureIsReadyWhenTheServerHasAnswered) {
    const auto client = connect();
    HeldWord word(client);
    auto waits = client.async<wait_for_word>(word.ptr());
    EXPECT_FALSE(waits.ready());
    EXPECT_FALSE(waits.wait_for(milliseconds(1)));
    word.let_go();
    EXPECT_TRUE(waits.wait_for(kLong));
    EXPECT_TRUE(waits.ready());
    EXPECT_TRUE(waits.get());
}

TEST_F(Calls, WaitingTwiceIsAnError) {
    const auto client = connect();
    auto sum = client.async<add>(1, 2);
    EXPECT_EQ(sum.get().value(), 3);
    const auto again = sum.get();
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().status, VMRPC_BAD_ARGUMENT);
    EXPECT_NE(again.error().text.find("taken before"), std::string::npos);
    EXPECT_TRUE(sum.ready());
    EXPECT_TRUE(sum.wait_for(kLong));
    EXPECT_EQ(sum.cancel().error().status, VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(vmrpc::Future<int>().get().error().status, VMRPC_BAD_ARGUMENT);
}

TEST_F(Calls, EachKindOfArgumentTravelsAsynchronously) {
    const auto client = connect();
    Counter counter{5, 0};
    auto bumped = client.async<bump>(counter, Counter{10, 0});
    Big big{};
    big.words.front() = 7;
    auto reversed = client.async<reverse>(big);
    std::vector<double> values{1, 2, 3};
    auto scaled = client.async<scale>(std::span(values), 2.0);
    auto summed = client.async<sum>(std::vector<double>{1, 2, 3});  // copied in: needed no longer than this line
    auto numbers = client.async<iota>(1'000);
    const std::string text = "the text of a failure";
    auto failed = client.async<fail>(text);
    EXPECT_EQ(counter.value, 5) << "written back by get()";
    EXPECT_TRUE(bumped.get());
    EXPECT_EQ(counter.value, 15);
    EXPECT_EQ(reversed.get().value().words.back(), 7U);
    EXPECT_DOUBLE_EQ(values[2], 3);
    EXPECT_TRUE(scaled.get());
    EXPECT_DOUBLE_EQ(values[2], 6);
    EXPECT_DOUBLE_EQ(summed.get().value(), 6);
    {
        const auto made = numbers.get();
        EXPECT_EQ((*made)[999], 999);
    }
    const auto failure = failed.get();
    ASSERT_FALSE(failure);
    EXPECT_EQ(failure.error().status, VMRPC_FUNCTION_FAILED);
    EXPECT_EQ(failure.error().text, text);
    EXPECT_EQ(client.stats().implicit_copies, 3U);
    EXPECT_EQ(client.stats().live_blocks, 0U);
    EXPECT_TRUE(soon([&] { return client.call<server_heap>().value().live_blocks == 0; }));
}

TEST_F(Calls, AFunctionThatTheServerLacksIsTheFuturesError) {
    const auto client = connect();
    auto nowhere = client.async<vmrpc::named<"conformance::nowhere", int(int)>>(1);
    EXPECT_TRUE(nowhere.ready());
    EXPECT_EQ(nowhere.get().error().status, VMRPC_UNKNOWN_FUNCTION);
    EXPECT_EQ(nowhere.get().error().status, VMRPC_BAD_ARGUMENT);
}

TEST_F(Calls, ALimitEndsAFuture) {
    const auto client = connect();
    ASSERT_TRUE((client.require<wait_for_word, add>()));
    EXPECT_EQ(client.async_within<add>(nanoseconds(-1), 1, 2).get().error().status, VMRPC_TIMED_OUT);
    EXPECT_EQ(client.async_within<add>(nanoseconds(0), 1, 2).get().error().status, VMRPC_TIMED_OUT);
    EXPECT_EQ(client.async_within<add>(kLong, 1, 2).get().value(), 3);
    HeldWord word(client);
    auto late = client.async_within<wait_for_word>(milliseconds(20), word.ptr());
    EXPECT_EQ(late.get().error().status, VMRPC_TIMED_OUT);
    EXPECT_EQ(client.stats().calls_abandoned, 1U);
    word.let_go();
    EXPECT_TRUE(soon([&] { return client.poll() && client.stats().calls_abandoned == 0; }));
}

TEST_F(Calls, TheDefaultLimitIsThatOfEveryCall) {
    const auto client = connect({.default_limit = milliseconds(50)});
    ASSERT_TRUE(client.require<wait_for_word>());
    EXPECT_EQ(client.call<add>(1, 2).value(), 3);
    HeldWord word(client);
    EXPECT_EQ(client.call<wait_for_word>(word.ptr()).error().status, VMRPC_TIMED_OUT);
    EXPECT_EQ(client.async<wait_for_word>(word.ptr()).get().error().status, VMRPC_TIMED_OUT);
    word.let_go();
    EXPECT_TRUE(client.call_within<wait_for_word>(kLong, word.ptr()));
    EXPECT_EQ(vmrpc::Client::connect(server_address(), {.default_limit = nanoseconds(-1)}).error().status,
              VMRPC_BAD_ARGUMENT);
}

TEST_F(Calls, AFutureThatIsDestroyedInFlightLeavesNothing) {
    const auto client = connect();
    ASSERT_TRUE((client.require<wait_for_word, sum, iota>()));
    HeldWord word(client);
    {
        auto first = client.async<wait_for_word>(word.ptr());
        auto second = client.async<sum>(std::vector<double>(1'000, 1.0));
        auto third = client.async<iota>(1'000);
        EXPECT_EQ(client.stats().live_blocks, 2U) << "the copy, and the word";
    }
    EXPECT_EQ(client.stats().calls_abandoned, 3U);
    EXPECT_EQ(client.stats().live_blocks, 2U) << "the server may still read the copy";
    word.let_go();
    EXPECT_TRUE(soon([&] { return client.poll() && client.stats().calls_abandoned == 0; }));
    EXPECT_EQ(client.stats().live_blocks, 1U) << "the word";
    EXPECT_TRUE(soon([&] { return client.call<server_heap>().value().live_blocks == 0; }));
}

TEST_F(Calls, MoreThanTheLanesCarryMeansRetryLater) {
    const auto client = connect({.max_lanes = 5});
    ASSERT_TRUE((client.require<wait_for_word, null>()));
    HeldWord word(client);
    std::vector<vmrpc::Future<void>> calls;
    calls.push_back(client.async<wait_for_word>(word.ptr()));
    std::optional<vmrpc::Error> refused;
    for (int i = 0; i < 100 && !refused; ++i) {
        auto next = client.async<null>();
        if (!next.ready())
            calls.push_back(std::move(next));
        else
            refused = next.get().error();
    }
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->status, VMRPC_BUSY);
    EXPECT_EQ(refused->remedy(), vmrpc::Remedy::kRetryLater);
    EXPECT_EQ(client.post<null>().error().status, VMRPC_BUSY) << "no one-way call is among them that would make room";
    EXPECT_GE(calls.size(), 48U) << "in a guest the first lane is the heap's";
    word.let_go();
    for (auto& call : calls) EXPECT_TRUE(call.get());
    EXPECT_TRUE(client.async<null>().get());
    EXPECT_TRUE(client.call<null>());
}

TEST_F(Calls, ASharedLaneCarriesNoAsynchronousCalls) {
    const auto client = connect({.max_lanes = 2});
    std::vector<vmrpc::Future<void>> calls;
    for (int i = 0; i < 17; ++i) calls.push_back(client.async<null>());
    EXPECT_EQ(calls.back().get().error().status, VMRPC_BUSY);
    EXPECT_TRUE(client.call<null>());
}

TEST_F(Calls, AnArgumentOnTheRpcStackIsRefused) {
    const auto client = connect();
    const auto run = vmrpc::on_rpc_stack(client, [&] {
        double values[] = {1, 2, 3};
        EXPECT_EQ(client.async<sum>(std::span<const double>(values)).get().error().status, VMRPC_BAD_ARGUMENT);
        EXPECT_EQ(client.post<sum>(std::span<const double>(values)).error().status, VMRPC_BAD_ARGUMENT);
        EXPECT_EQ(client.async<add>(1, 2).get().value(), 3);
    });
    if (!run) {
        EXPECT_EQ(run.error().status, VMRPC_NOT_SUPPORTED) << run.error().message();
    }
}

TEST_F(Calls, AFutureIsCompletedOnAnotherThread) {
    const auto client = connect();
    for (int i = 0; i < 50; ++i) {
        auto sum = client.async<add>(i, 1);
        auto copied = client.async<conformance::sum>(std::vector<double>(100, 1.0));
        auto dropped = client.async<iota>(100);
        std::thread([&, dropped = std::move(dropped)]() mutable {
            EXPECT_EQ(sum.get().value(), i + 1);
            EXPECT_DOUBLE_EQ(copied.get().value(), 100);
            dropped = {};
        }).join();
    }
    EXPECT_TRUE(soon([&] { return client.poll() && client.stats().calls_abandoned == 0; }));
    EXPECT_EQ(client.stats().live_blocks, 0U);
    EXPECT_TRUE(soon([&] { return client.call<server_heap>().value().live_blocks == 0; }));
}

TEST_F(Calls, AThreadThatEndsLeavesItsCallsInFlight) {
    const auto client = connect({.max_lanes = 4});
    ASSERT_TRUE(client.require<wait_for_word>());
    HeldWord word(client);
    vmrpc::Future<void> taken;
    std::thread([&] {
        taken = client.async<wait_for_word>(word.ptr());
        auto dropped = client.async<wait_for_word>(word.ptr());
    }).join();
    word.let_go();
    EXPECT_TRUE(taken.get());
    for (int i = 0; i < 30; ++i) {
        std::thread([&] {
            EXPECT_TRUE(soon([&] { return client.async<null>().get().has_value(); })) << "its lane can be leased again";
        }).join();
    }
}

TEST_F(Calls, ThenIsToldByWhoPolls) {
    const auto client = connect();
    ASSERT_TRUE((client.require<wait_for_word, add>()));
    EXPECT_EQ(client.poll().value(), 0U);
    EXPECT_EQ(client.poll(kLong).value(), 0U) << "nobody waits for anything";
    HeldWord word(client);
    int told = 0;
    client.async<wait_for_word>(word.ptr()).then([&](const vmrpc::Result<void>& done) { told += done ? 1 : 0; });
    client.async<add>(1, 2).then([&](const vmrpc::Result<std::int64_t>& sum) { told += static_cast<int>(*sum); });
    EXPECT_EQ(told, 0);
    word.let_go();
    while (told < 4) EXPECT_GE(client.poll(kLong).value(), 1U);
    EXPECT_EQ(told, 4);
    client.async<add>(1, 2).then([](const auto&) { throw std::runtime_error("thrown by whom is told"); });
    const auto polled = client.poll(kLong);
    ASSERT_FALSE(polled);
    EXPECT_EQ(polled.error().status, VMRPC_FUNCTION_FAILED);
    EXPECT_NE(polled.error().text.find("thrown by whom is told"), std::string::npos);
    vmrpc::Future<int>().then([&](const vmrpc::Result<int>& none) { told = none.error().status; });
    EXPECT_EQ(told, VMRPC_BAD_ARGUMENT) << "at once";
}

TEST_F(Calls, ThenIsToldOfALimitThatHasPassed) {
    const auto client = connect();
    ASSERT_TRUE(client.require<wait_for_word>());
    HeldWord word(client);
    std::optional<vmrpc::Result<void>> result;
    client.async_within<wait_for_word>(milliseconds(20), word.ptr()).then([&](auto done) { result = std::move(done); });
    EXPECT_EQ(client.poll(kLong).value(), 1U);
    EXPECT_EQ(result.value().error().status, VMRPC_TIMED_OUT);
}

TEST_F(Calls, AThreadThatPollsHearsOfCallsStartedElsewhere) {
    const auto client = connect({.spin = nanoseconds(VMRPC_SPIN_NEVER)});
    ASSERT_TRUE((client.require<wait_for_word, add>()));
    HeldWord word(client);
    std::atomic<int> told{0};
    client.async<wait_for_word>(word.ptr()).then([&](const auto&) { ++told; });
    std::thread poller([&] {
        while (told < 101) EXPECT_TRUE(client.poll(kLong));
    });
    for (int i = 0; i < 100; ++i) {
        client.async<null>().then([&](const auto&) { ++told; });
        if (i == 50) word.let_go();
    }
    word.let_go();
    poller.join();
}

// ---- coroutines

struct Task {
    // NOLINTBEGIN(readability-identifier-naming): what the language looks up
    struct promise_type {
        static Task get_return_object() { return {}; }
        static std::suspend_never initial_suspend() noexcept { return {}; }
        static std::suspend_never final_suspend() noexcept { return {}; }
        static void return_void() {}
        static void unhandled_exception() { std::terminate(); }
    };
    // NOLINTEND(readability-identifier-naming)
};

Task add_thrice(const vmrpc::Client& client, std::vector<vmrpc::Resumption>& executor, std::int64_t& total) {
    total = (co_await client.async<add>(1, 2)).value();
    total += (co_await client.async<add>(10, 20).resume_on([&](const vmrpc::Resumption& go_on) {
                 executor.push_back(go_on);
             })).value();
    const auto failed = co_await client.async<fail>("gone wrong");
    total += failed ? 0 : 100;
}

TEST_F(Calls, CoroutinesWaitForCalls) {
    const auto client = connect();
    std::vector<vmrpc::Resumption> executor;
    std::int64_t total = 0;
    add_thrice(client, executor, total);
    while (total < 133) {
        EXPECT_TRUE(client.poll(kLong));
        for (const vmrpc::Resumption& go_on : std::exchange(executor, {})) go_on();
    }
    EXPECT_EQ(total, 133);
    EXPECT_EQ(client.poll(kLong).value(), 0U);
}

Task add_once(const vmrpc::Client& client, vmrpc::Result<void>& result, vmrpc::Ptr<std::uint32_t> word) {
    result = co_await client.async<wait_for_word>(word);
}

TEST_F(Calls, ClosingTheClientEndsItsCallsInFlight) {
    vmrpc::Result<void> awaited;
    vmrpc::Result<void> told;
    vmrpc::Future<void> kept;
    vmrpc::Future<vmrpc::Array<std::int64_t>> kept_block;
    vmrpc::Future<double> with_copy;
    {
        auto client = std::make_unique<vmrpc::Client>(connect());
        auto word = client->heap().make_array<std::uint32_t>(1).value();
        word[0] = 0;
        ASSERT_TRUE((client->require<wait_for_word, iota, sum>()));
        kept = client->async<wait_for_word>(word.ptr());
        kept_block = client->async<iota>(10);
        with_copy = client->async<sum>(std::vector<double>(100, 1.0));
        add_once(*client, awaited, word.ptr());
        client->async<wait_for_word>(word.ptr()).then([&](auto result) { told = std::move(result); });
        std::atomic_ref(word[0]).store(1, std::memory_order_release);  // the server must not look at what is unmapped
        EXPECT_TRUE(kept.wait_for(kLong));
    }
    EXPECT_EQ(told.error().status, VMRPC_CLOSED);
    EXPECT_EQ(awaited.error().status, VMRPC_CLOSED);
    EXPECT_TRUE(kept.ready());
    EXPECT_EQ(kept.cancel().error().status, VMRPC_CLOSED);
    EXPECT_EQ(kept.get().error().status, VMRPC_CLOSED);
    EXPECT_EQ(kept.get().error().status, VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(kept_block.get().error().status, VMRPC_CLOSED);
    EXPECT_EQ(with_copy.get().error().status, VMRPC_CLOSED);
    // Records of calls are used again by other connections, and old futures do not take theirs.
    vmrpc::Future<std::int64_t> old;
    {
        const auto client = connect();
        old = client.async<add>(1, 2);
    }
    const auto client = connect();
    auto mine = client.async<add>(3, 4);
    EXPECT_EQ(old.get().error().status, VMRPC_CLOSED);
    EXPECT_EQ(mine.get().value(), 7);
}

TEST_F(Calls, CancellingLeavesAnAnswerToTake) {
    const auto client = connect();
    ASSERT_TRUE((client.require<wait_for_word, add>()));
    HeldWord word(client);
    auto runs = client.async<wait_for_word>(word.ptr());
    auto waits = client.async<add>(1, 2);
    EXPECT_TRUE(waits.cancel());
    EXPECT_TRUE(waits.cancel()) << "again is harmless";
    std::thread([&] { EXPECT_TRUE(runs.cancel()); }).join();
    word.let_go();
    const auto sum = waits.get();
    if (!sum) {
        EXPECT_EQ(sum.error().status, VMRPC_CANCELLED);
    }
    const auto done = runs.get();
    if (!done) {
        EXPECT_EQ(done.error().status, VMRPC_CANCELLED);
    }
    auto answered = client.async<add>(1, 2);
    EXPECT_TRUE(answered.wait_for(kLong));
    EXPECT_TRUE(answered.cancel()) << "too late is harmless";
    EXPECT_EQ(answered.get().value(), 3);
    EXPECT_EQ(client.call<add>(1, 2).value(), 3);
}

// ---- one-way calls

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

// ---- threads

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
