// Conformance: many threads, time limits, sleeping and ringing.
#include "conformance/fixture.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

namespace conformance {
namespace {

using std::chrono::milliseconds;

/// Calls add() from `thread_count` threads, `call_count` times each; returns how many answers were wrong.
int wrong_answers(const vmrpc::Client& client, int thread_count, int call_count) {
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < thread_count; ++thread) {
        threads.emplace_back([&, thread] {
            for (int i = 0; i < call_count; ++i) {
                const auto answer = client.call<add>(std::int64_t{thread} << 32, i);
                if (!answer || *answer != (std::int64_t{thread} << 32) + i) ++wrong;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    return wrong;
}

/// Long enough that a call is on its way before it ends, on a machine that is busy with other things too.
constexpr auto kLimit = milliseconds(200);

/// A call that executes on the server until it is let go, and that its caller has given up.
class CallGivenUp {
  public:
    explicit CallGivenUp(const vmrpc::Client& client)
        : client_(client), word_(client.heap().make_array<std::uint32_t>(1).value()) {
        word_[0] = 0;
        const auto late = client.call_within<wait_for_word>(kLimit, word_.ptr());
        EXPECT_FALSE(late);
        if (!late) error_ = late.error();
    }
    // The word is freed when the server no longer looks at it.
    ~CallGivenUp() {
        let_go();
        auto answered = client_.call<null>();
        while (!answered && answered.error().status == VMRPC_BUSY) answered = client_.call<null>();
        EXPECT_TRUE(answered);
    }
    CallGivenUp(const CallGivenUp&) = delete;
    CallGivenUp& operator=(const CallGivenUp&) = delete;
    [[nodiscard]] const vmrpc::Error& error() const { return error_; }
    // Pairs with the acquire load in server.cpp, serve_wait_for_word.
    void let_go() { std::atomic_ref(word_[0]).store(1, std::memory_order_release); }

  private:
    const vmrpc::Client& client_;
    vmrpc::Array<std::uint32_t> word_;
    vmrpc::Error error_;
};

TEST_F(Calls, ManyThreadsCallAtOnce) {
    EXPECT_EQ(wrong_answers(connect(), 8, 1'000), 0);
}

TEST_F(Calls, ManyThreadsThatAlwaysSleepLoseNoWakeUp) {
    EXPECT_EQ(wrong_answers(connect({.spin = std::chrono::nanoseconds(VMRPC_SPIN_NEVER)}), 8, 300), 0);
}

TEST_F(Calls, MoreThreadsThanLanesShareOne) {
    const auto client = connect({.max_lanes = 2});
    EXPECT_EQ(wrong_answers(client, 24, 100), 0);
    EXPECT_EQ(wrong_answers(client, 2, 100), 0) << "lanes of ended threads are leased again";
}

TEST_F(Calls, OneLaneServesAll) {
    EXPECT_EQ(wrong_answers(connect({.max_lanes = 1}), 4, 100), 0);
}

TEST_F(Calls, SeveralConnectionsAreServedAtOnce) {
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int i = 0; i < 4; ++i) threads.emplace_back([&] { wrong += wrong_answers(connect(), 2, 300); });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
}

TEST_F(Calls, AnIdleConnectionWakesTheServer) {
    const auto client = connect();
    for (int i = 0; i < 10; ++i) {
        std::this_thread::sleep_for(milliseconds(3));  // the server has gone to sleep
        ASSERT_EQ(client.call<add>(i, 1).value(), i + 1);
    }
}

TEST_F(Calls, ACallReturnsAtItsTimeLimitAndTheNextOneWorks) {
    const auto client = connect();
    ASSERT_TRUE(client.require<wait_for_word>());
    {
        CallGivenUp late(client);
        EXPECT_EQ(late.error().status, VMRPC_TIMED_OUT);
        EXPECT_EQ(late.error().remedy(), vmrpc::Remedy::kRetryLater);
        EXPECT_EQ(client.stats().calls_abandoned, 1U);
        late.let_go();
        EXPECT_EQ(client.call<add>(1, 2).value(), 3);
    }
    EXPECT_TRUE(soon([&] { return client.call<null>() && client.stats().calls_abandoned == 0; }));
}

TEST_F(Calls, ACallOnAWorkerHoldsUpNoOther) {
    const auto client = connect();
    auto word = client.heap().make_array<std::uint32_t>(1).value();
    const std::atomic_ref shared(word[0]);
    std::thread waiting([&] {
        const auto waited = client.call<wait_on_worker>(word.ptr());
        EXPECT_TRUE(waited) << waited.error().message();
    });
    const bool begun = soon([&] { return shared.load(std::memory_order_acquire) == 2; });
    EXPECT_TRUE(begun);
    for (int i = 0; i < 200 && begun; ++i) {
        EXPECT_EQ(client.call<add>(i, 1).value(), i + 1);
        EXPECT_EQ(client.call<add_on_worker>(i, 2).value(), i + 2);
        const auto numbers = client.call<iota_on_worker>(i).value();
        EXPECT_EQ(numbers.size(), static_cast<std::size_t>(i));
    }
    shared.store(1, std::memory_order_release);
    waiting.join();
}

TEST_F(Calls, ACallOnAWorkerSeesThatItWasGivenUp) {
    const auto client = connect();
    const auto word = client.heap().make_array<std::uint32_t>(1).value();
    ASSERT_TRUE(client.require<wait_on_worker>());
    const auto late = client.call_within<wait_on_worker>(milliseconds(50), word.ptr());
    ASSERT_FALSE(late);
    EXPECT_TRUE(late.error().status == VMRPC_TIMED_OUT || late.error().status == VMRPC_FUNCTION_FAILED)
        << late.error().message() << ": whichever of the two sees it first";
    EXPECT_TRUE(soon([&] { return client.call<null>() && client.stats().calls_abandoned == 0; }))
        << "the function ends by itself";
}

TEST_F(Calls, ALimitThatHasPassedDoesNotCall) {
    const auto client = connect();
    const int before = client.call<who>().value().calls;
    EXPECT_EQ(client.call_within<who>(milliseconds(-1)).error().status, VMRPC_TIMED_OUT);
    EXPECT_EQ(client.call<who>().value().calls, before + 1);
}

TEST_F(Calls, ALateBlockIsFreed) {
    const auto client = connect();
    ASSERT_TRUE((client.require<wait_for_word, iota>()));
    {
        const CallGivenUp before(client);
        ASSERT_FALSE(client.call_within<iota>(kLimit, 1'000)) << "the server still executes the call before";
    }
    EXPECT_TRUE(soon([&] { return client.call<null>() && client.stats().calls_abandoned == 0; }));
    EXPECT_TRUE(soon([&] { return client.call<server_heap>().value().live_blocks == 0; }));
}

TEST_F(Calls, CopiesOfACallGivenUpAreHeldUntilTheServerAnswers) {
    const auto client = connect();
    ASSERT_TRUE((client.require<wait_for_word, sum>()));
    {
        const CallGivenUp before(client);
        const std::vector<double> values(1'000, 1.0);
        ASSERT_FALSE(client.call_within<sum>(kLimit, values));
        EXPECT_EQ(client.stats().live_blocks, 2U) << "the copy, and the word";
    }
    EXPECT_TRUE(soon([&] { return client.call<null>() && client.stats().live_blocks == 0; }));
}

TEST_F(Calls, TooManyCallsGivenUpMeanRetryLater) {
    const auto client = connect();
    ASSERT_TRUE((client.require<wait_for_word, null>()));  // so that the limits pass in the functions
    {
        const CallGivenUp before(client);
        vmrpc::Result<void> refused;
        EXPECT_TRUE(soon([&] {
            refused = client.call_within<null>(milliseconds(1));
            return !refused && refused.error().status == VMRPC_BUSY;
        })) << "a call that was not sent before its limit passed takes no slot; some of them were sent";
        EXPECT_EQ(refused.error().remedy(), vmrpc::Remedy::kRetryLater);
    }
    EXPECT_TRUE(soon([&] { return client.call<null>().has_value(); }));
}

TEST_F(Calls, ManyConnectionsOneAfterTheOther) {
    for (int i = 0; i < 30; ++i) ASSERT_EQ(connect().call<add>(i, i).value(), 2 * i);
}

TEST_F(Calls, AnArrayOutlivesItsClient) {
    vmrpc::Array<double> values;
    {
        const auto client = connect();
        values = client.heap().make_array<double>(1'000).value();
    }
    values[999] = 1.0;
    EXPECT_DOUBLE_EQ(values[999], 1.0);
}

}  // namespace
}  // namespace conformance
