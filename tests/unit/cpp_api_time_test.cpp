// Calls with a time limit, and what becomes of those that were given up.
#include "cpp_api_server.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

namespace cpp_api {
namespace {

using std::chrono::milliseconds;

/// Waits, for as long as it takes on a busy machine.
template <class Condition>
bool eventually(Condition condition) {
    for (int i = 0; i < 3000; ++i) {
        if (condition()) return true;
        std::this_thread::sleep_for(milliseconds(10));
    }
    return false;
}

TEST(CppApiLimit, DoesNotMatterToAnAnswerInTime) {
    const Server server;
    const auto client = server.connect();
    EXPECT_EQ(client.call_within<add>(std::chrono::minutes(10), 1, 2).value(), 3);
}

TEST(CppApiLimit, ThatIsNoneLeftIsOver) {
    const Server server;
    const auto client = server.connect();
    EXPECT_EQ(client.call_within<add>(milliseconds(0), 1, 2).error().status, VMRPC_TIMED_OUT);
    EXPECT_EQ(client.call_within<add>(milliseconds(-5), 1, 2).error().status, VMRPC_TIMED_OUT);
}

TEST(CppApiLimit, EndsTheWait) {
    Server server;
    const auto client = server.connect();
    const auto late = client.call_within<wait_for_release>(milliseconds(50));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().status, VMRPC_TIMED_OUT);
    EXPECT_EQ(late.error().remedy(), vmrpc::Remedy::kRetryLater);
    server.release();
    EXPECT_EQ(client.call<add>(1, 2).value(), 3) << "on the same lane";
}

TEST(CppApiLimit, KeepsWhatTheCallHoldsUntilTheLateReply) {
    Server server;
    const auto client = server.connect({.heap_bytes = std::uint64_t{8} << 20});
    const std::vector<std::uint8_t> bytes(1000);
    ASSERT_TRUE(client.require<squares_after_release>());
    EXPECT_EQ(client.call_within<squares_after_release>(milliseconds(50), 1000U, bytes).error().status,
              VMRPC_TIMED_OUT);
    EXPECT_EQ(client.stats().calls_abandoned, 1U);
    EXPECT_EQ(client.stats().live_blocks, 1U) << "the copy of the argument, which the server may still read";
    server.release();
    const auto is_settled = [&] {
        EXPECT_TRUE(client.call<add>(1, 2));
        return client.stats().calls_abandoned == 0;
    };
    EXPECT_TRUE(eventually(is_settled));
    EXPECT_EQ(client.stats().live_blocks, 0U);
}

// The results that nobody takes are 1 MiB each, in a heap with 4 MiB for them: each is freed, or soon there is no room.
TEST(CppApiLimit, FreesTheResultsThatNobodyTook) {
    Server server;
    server.release();
    const auto client = server.connect({.heap_bytes = std::uint64_t{8} << 20});
    const std::vector<std::uint8_t> bytes(10);
    ASSERT_TRUE(client.require<squares_after_release>());
    for (int i = 0; i < 100; ++i) {
        const auto made = client.call_within<squares_after_release>(std::chrono::nanoseconds(1), 256U * 1024U, bytes);
        // Many given up at once are refused until some are answered; nothing else may go wrong.
        const bool is_expected = made || made.error().status == VMRPC_TIMED_OUT || made.error().status == VMRPC_BUSY;
        ASSERT_TRUE(is_expected) << made.error().message();
    }
    ASSERT_TRUE(eventually([&] { return client.call<add>(1, 2) && client.stats().calls_abandoned == 0; }));
    for (int i = 0; i < 8; ++i) {
        const auto made = client.call<squares_after_release>(256U * 1024U, bytes);
        ASSERT_TRUE(made) << made.error().message();
    }
    EXPECT_EQ(client.stats().live_blocks, 0U);
}

TEST(CppApiLimit, RefusesMoreWhenHalfOfTheSlotsWereGivenUp) {
    Server server;
    const auto client = server.connect();
    ASSERT_TRUE((client.require<wait_for_release, add>()));
    // A call that was not sent before its limit passed takes no slot.
    vmrpc::Error refused;
    ASSERT_TRUE(eventually([&] {
        refused = client.call_within<wait_for_release>(milliseconds(1)).error();
        return refused.status == VMRPC_BUSY;
    }));
    EXPECT_EQ(client.stats().calls_abandoned, 8U);
    EXPECT_EQ(client.call_within<add>(milliseconds(1), 1, 2).error().status, VMRPC_BUSY);
    EXPECT_EQ(refused.remedy(), vmrpc::Remedy::kRetryLater);
    server.release();
    EXPECT_TRUE(eventually([&] { return client.call<add>(1, 2).has_value(); }));
}

TEST(CppApiLimit, HoldsWhileTheServerRunsAnother) {
    Server server;
    const auto client = server.connect();
    std::thread other([&] { EXPECT_TRUE(client.call<wait_for_release>()); });
    ASSERT_TRUE(eventually([&] { return server.waiting() == 1; }));
    EXPECT_EQ(client.call_within<add>(milliseconds(20), 1, 2).error().status, VMRPC_TIMED_OUT);
    server.release();
    other.join();
}

}  // namespace
}  // namespace cpp_api
