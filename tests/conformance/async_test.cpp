// Conformance: calls that are started and not waited for.
#include "conformance/held_word.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace conformance {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

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
    auto late = client.async_within<wait_for_word>(milliseconds(200), word.ptr());
    EXPECT_EQ(late.get().error().status, VMRPC_TIMED_OUT);
    EXPECT_EQ(client.stats().calls_abandoned, 1U);
    word.let_go();
    EXPECT_TRUE(soon([&] { return client.poll() && client.stats().calls_abandoned == 0; }));
}

TEST_F(Calls, TheDefaultLimitIsThatOfEveryCall) {
    const auto client = connect({.default_limit = milliseconds(300)});
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

}  // namespace
}  // namespace conformance
