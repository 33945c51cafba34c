// Conformance: functions of the client's that the server calls during a call.
#include "conformance/callback_fixture.hpp"

#include <string_view>
#include <vector>

namespace conformance {
namespace {

std::string_view text_of(const Asked& asked) {
    return asked.text.data();
}

TEST_F(CallsBack, RunOnTheThreadThatWaits) {
    for (int i = 0; i < 1'000; ++i) ASSERT_EQ(client_.call<ask_twice>(i).value(), 2 * i);
    for (int i = 0; i < 1'000; ++i) ASSERT_EQ(client_.call<ask_twice_on_worker>(i).value(), 2 * i);
    EXPECT_FALSE(threads_differ_);
    EXPECT_EQ(client_.call<add>(1, 2).value(), 3);
}

TEST_F(CallsBack, CarryDataAsCallsDo) {
    const std::uint64_t before = server_blocks();
    const std::uint64_t own_before = client_.stats().live_blocks;
    constexpr std::int64_t kCount = 10'000;
    constexpr double kSum = static_cast<double>(kCount) * (kCount - 1) / 2;
    for (int i = 0; i < 5; ++i) ASSERT_EQ(client_.call<ask_for_data>(kCount).value(), 2 * kSum * 2 + 7 + 2 + kSum);
    EXPECT_TRUE(soon([&] { return server_blocks() == before && client_.stats().live_blocks == own_before; }))
        << server_blocks() << " " << client_.stats().live_blocks;
}

TEST_F(CallsBack, FailWithAText) {
    const Asked asked = client_.call<ask_fail>("no such file").value();
    EXPECT_EQ(asked.status, VMRPC_FUNCTION_FAILED);
    EXPECT_EQ(text_of(asked), "no such file");
    EXPECT_EQ(client_.call<ask_twice>(1).value(), 2);
}

TEST_F(CallsBack, ToAFunctionThatIsNotThereSayWhichOne) {
    const auto bare = connect();
    const Asked asked = bare.call<ask_fail>("x").value();
    EXPECT_EQ(asked.status, VMRPC_UNKNOWN_FUNCTION);
    EXPECT_NE(text_of(asked).find("conformance::fail_here"), std::string_view::npos) << text_of(asked);
    ASSERT_TRUE((bare.add<vmrpc::named<"conformance::fail_here", void(std::int32_t)>>([](std::int32_t) {})));
    const Asked other = bare.call<ask_fail>("x").value();
    EXPECT_EQ(other.status, VMRPC_SIGNATURE_MISMATCH);
    EXPECT_NE(text_of(other).find("value 4/4"), std::string_view::npos) << text_of(other);
    ASSERT_TRUE(bare.add<fail_here>([](std::string_view) {})) << "it may be added at any time";
    EXPECT_EQ(bare.call<ask_fail>("x").value().status, VMRPC_OK);
    EXPECT_EQ(bare.add<fail_here>([](std::string_view) {}).error().status, VMRPC_BAD_ARGUMENT) << "but once";
}

TEST_F(CallsBack, AreNestedUpToALimit) {
    for (const int from : {1, 2, 7, 15}) ASSERT_EQ(client_.call<countdown>(from).value(), from);
    EXPECT_EQ(deepest_, 0);
    deepest_ = 1'000;
    const auto beyond = client_.call<countdown>(100);
    ASSERT_FALSE(beyond);
    EXPECT_NE(beyond.error().text.find("nested in each other"), std::string::npos) << beyond.error().text;
    EXPECT_LE(deepest_, 86);
    EXPECT_EQ(client_.call<countdown>(15).value(), 15) << "and all are free again";
}

TEST_F(CallsBack, EndAtTheirTimeLimit) {
    ASSERT_EQ(client_.call<ask_sleep>(0, 0).value().status, VMRPC_OK);  // from then on the server knows the function
    const std::uint64_t before = server_blocks();
    for (int i = 0; i < 40; ++i) {  // more than there are slots
        const Asked asked =
            i % 2 == 0 ? client_.call<ask_sleep>(20, 1).value() : client_.call<ask_sleep_on_worker>(20, 1).value();
        ASSERT_EQ(asked.status, VMRPC_TIMED_OUT) << text_of(asked);
        ASSERT_NE(text_of(asked).find("sleep_here"), std::string_view::npos) << text_of(asked);
    }
    EXPECT_EQ(client_.call<ask_sleep>(1, 0).value().status, VMRPC_OK);
    EXPECT_EQ(slept_, 42) << "what the server gave up runs all the same";
    EXPECT_TRUE(soon([&] { return server_blocks() == before; })) << server_blocks();
}

TEST_F(CallsBack, EndWithTheLimitOfTheCallThatTheyAreMadeIn) {
    const auto late = client_.call_within<ask_sleep>(std::chrono::milliseconds(5), 30, 0);
    EXPECT_TRUE(!late || late->status == VMRPC_TIMED_OUT);
    EXPECT_TRUE(soon([&] { return client_.call<ask_sleep>(0, 0).value().status == VMRPC_OK; }));
}

TEST_F(CallsBack, AreNotCancelledAsTheCallBeforeWas) {
    for (int limit_us = 20; limit_us <= 400; limit_us += 20) {  // at all stages of finding the function, and calling it
        const auto client = connect();
        ASSERT_TRUE(client.add<sleep_here>([](std::int32_t) {}));
        static_cast<void>(client.call_within<ask_sleep>(std::chrono::microseconds(limit_us), 0, 0));
        const auto next = client.call<ask_sleep>(0, 0);
        ASSERT_TRUE(next) << next.error().text;
        EXPECT_EQ(next->status, VMRPC_OK) << text_of(*next) << ", after one of at most " << limit_us << " us";
    }
}

TEST_F(CallsBack, OfManyThreadsGoToEach) {
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    const auto client = connect();
    static thread_local std::int64_t own = 0;
    ASSERT_TRUE(client.add<twice_here>([](std::int64_t value) { return value + own; }));
    for (std::int64_t number = 1; number <= 8; ++number) {
        threads.emplace_back([&, number] {
            own = 1'000 * number;
            for (int i = 0; i < 200; ++i) {
                const auto inline_answer = client.call<ask_twice>(i);
                const auto worker_answer = client.call<ask_twice_on_worker>(i);
                if (!inline_answer || *inline_answer != i + own || !worker_answer || *worker_answer != i + own) ++wrong;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
}

TEST_F(CallsBack, CallArgumentsOfTheirCaller) {
    std::vector<std::int64_t> values(100);
    std::iota(values.begin(), values.end(), 0);
    std::int64_t seen = 0;
    const auto is_even = [&](std::int64_t value) {
        ++seen;
        return value % 2 == 0;
    };
    EXPECT_EQ(client_.call<count_if>(values, is_even).value(), 50);
    EXPECT_EQ(seen, 100);
    EXPECT_EQ(client_.call<count_if>(values, [](std::int64_t value) { return value < 3; }).value(), 3);
    const auto throws = [](std::int64_t value) -> bool {
        throw std::runtime_error("I do not like " + std::to_string(value));
    };
    const auto failed = client_.call<count_if>(values, throws);
    ASSERT_FALSE(failed);
    EXPECT_NE(failed.error().text.find("I do not like 0"), std::string::npos) << failed.error().text;
}

TEST_F(CallsBack, OfArgumentsEndWithTheCallThatTheyCameWith) {
    bool was_called = false;
    ASSERT_TRUE(client_.call<keep>([&](std::int64_t) { return was_called = true; }));
    const Asked asked = client_.call<call_kept>().value();
    EXPECT_EQ(asked.status, VMRPC_FUNCTION_FAILED);
    EXPECT_NE(text_of(asked).find("not lent any more"), std::string_view::npos) << text_of(asked);
    EXPECT_FALSE(was_called);
}

TEST_F(CallsBack, CannotCloseTheConnection) {
    vmrpc_status status = VMRPC_OK;
    ASSERT_TRUE(client_.call<count_if>(std::vector<std::int64_t>{1}, [&](std::int64_t) {
        status = vmrpc_close(client_.handle());
        return true;
    }));
    EXPECT_EQ(status, VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(client_.call<add>(1, 2).value(), 3);
}

}  // namespace
}  // namespace conformance
