// Conformance: who is told of answers, coroutines, and what closing a client does to its calls.
#include "conformance/held_word.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

namespace conformance {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

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
    client.async_within<wait_for_word>(milliseconds(200), word.ptr()).then([&](auto done) {
        result = std::move(done);
    });
    EXPECT_EQ(client.poll(kLong).value(), 1U);
    EXPECT_EQ(result.value().error().status, VMRPC_TIMED_OUT);
}

TEST_F(Calls, AThreadThatPollsHearsOfCallsStartedElsewhere) {
    const auto client = connect({.spin = nanoseconds(VMRPC_SPIN_NEVER)});
    ASSERT_TRUE((client.require<wait_for_word, null>()));
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
    // Functions on the serving thread run in the order of their requests: the cancellations come behind these.
    EXPECT_EQ(waits.get().value(), 3);
    EXPECT_TRUE(runs.get());
    auto answered = client.async<add>(1, 2);
    EXPECT_TRUE(answered.wait_for(kLong));
    EXPECT_TRUE(answered.cancel()) << "too late is harmless";
    EXPECT_EQ(answered.get().value(), 3);
    EXPECT_EQ(client.call<add>(1, 2).value(), 3);
}

TEST_F(Calls, CancelledOnAWorkerACallEndsAsCancelled) {
    const auto client = connect();
    ASSERT_TRUE(client.require<wait_on_worker>());
    auto words = client.heap().make_array<std::uint32_t>(3).value();
    std::fill(words.begin(), words.end(), 0U);
    const auto word = [&](std::size_t i) { return std::atomic_ref(words[i]).load(std::memory_order_acquire); };
    const auto start = [&](std::size_t i) {
        return client.async<wait_on_worker>(vmrpc::Ptr<std::uint32_t>::to(&words[i], client.handle()));
    };
    auto first = start(0);
    auto second = start(1);
    ASSERT_TRUE(soon([&] { return word(0) == 2 && word(1) == 2; })) << "one on each worker";
    auto waits = start(2);
    EXPECT_TRUE(waits.cancel());
    const auto never_run = waits.get();
    ASSERT_FALSE(never_run);
    EXPECT_EQ(never_run.error().status, VMRPC_CANCELLED);
    EXPECT_NE(never_run.error().text.find("before it ran"), std::string::npos) << never_run.error().text;
    EXPECT_EQ(word(2), 0U);
    EXPECT_TRUE(first.cancel());
    const auto given_up = first.get();
    ASSERT_FALSE(given_up);
    EXPECT_EQ(given_up.error().status, VMRPC_CANCELLED);
    EXPECT_EQ(given_up.error().text, "cancelled") << "what the function said";
    EXPECT_FALSE(second.ready()) << "nobody has cancelled it yet";
    std::thread([&] { EXPECT_TRUE(second.cancel()); }).join();
    EXPECT_TRUE(client.poll()) << "passes on what another thread has cancelled";
    const auto elsewhere = second.get();
    ASSERT_FALSE(elsewhere);
    EXPECT_EQ(elsewhere.error().status, VMRPC_CANCELLED);
}

}  // namespace
}  // namespace conformance
