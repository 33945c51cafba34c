// Conformance: functions of the client's that the server calls while the client waits for several answers, or for none.
#include "conformance/callback_fixture.hpp"

#include <array>
#include <optional>
#include <string_view>
#include <vector>

namespace conformance {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_F(CallsBack, RunWhileAFutureIsWaitedFor) {
    std::vector<vmrpc::Future<std::int64_t>> futures;
    for (int i = 0; i < 40; ++i) {  // on several lanes
        futures.push_back(client_.async<ask_twice_on_worker>(i));
        futures.push_back(client_.async<ask_twice>(i));
    }
    for (int i = 39; i >= 0; --i) {
        const auto at = static_cast<std::size_t>(2 * i);
        ASSERT_EQ(futures[at + 1].get().value(), 2 * i);
        ASSERT_EQ(futures[at].get().value(), 2 * i);
    }
    EXPECT_FALSE(threads_differ_);
}

TEST_F(CallsBack, RunWhileAnswersArePolledFor) {
    int told = 0;
    std::vector<vmrpc::Future<std::int64_t>> futures;
    for (int i = 0; i < 8; ++i) {
        futures.push_back(client_.async<ask_twice_on_worker>(i));
        std::move(futures.back()).then([&told, i](vmrpc::Result<std::int64_t> result) {
            told += result.value() == 2 * i ? 1 : 0;
        });
    }
    while (told < 8) ASSERT_TRUE(client_.poll(seconds(10)));
}

TEST_F(CallsBack, RunBetweenCallsWhereAThreadServes) {
    ASSERT_TRUE(client_.call<count_between_calls>(3, 10'000));
    std::size_t served = 0;
    while (served < 3) {
        const auto some = client_.serve(seconds(10));
        ASSERT_TRUE(some) << some.error().message();
        ASSERT_GT(*some, 0U) << "nobody called within 10 s";
        served += *some;
    }
    EXPECT_EQ(counted_, 3);
    EXPECT_EQ(client_.call<last_between_calls>().value().status, VMRPC_OK);
    EXPECT_EQ(client_.serve(milliseconds(0)).value(), 0U) << "does not wait";
}

TEST_F(CallsBack, BetweenCallsTimeOutWhereNobodyServes) {
    ASSERT_TRUE(client_.call<count_between_calls>(1, 10'000));  // from then on the server knows the function
    EXPECT_EQ(client_.serve(seconds(10)).value(), 1U);
    EXPECT_EQ(client_.call<last_between_calls>().value().status, VMRPC_OK);
    ASSERT_TRUE(client_.call<count_between_calls>(1, 20));
    EXPECT_EQ(client_.call<last_between_calls>().value().status, VMRPC_TIMED_OUT);
    EXPECT_EQ(counted_, 1);
    EXPECT_EQ(client_.serve(seconds(10)).value(), 1U) << "it is late, and nobody waits for it";
    ASSERT_TRUE(client_.call<count_between_calls>(1, 10'000));
    EXPECT_EQ(client_.serve(seconds(10)).value(), 1U);
    EXPECT_EQ(client_.call<last_between_calls>().value().status, VMRPC_OK);
}

TEST_F(CallsBack, IntoAClientThatIsGoneEnd) {
    {
        const auto leaving = connect();
        ASSERT_TRUE(leaving.call<count_between_calls>(1, 60'000));
    }
    const Asked asked = client_.call<last_between_calls>().value();
    EXPECT_EQ(asked.status, VMRPC_PEER_LOST) << asked.text.data();
}

TEST_F(CallsBack, OfACallThatIsCancelledEnd) {
    std::optional<vmrpc::Client> other = connect();
    std::atomic<bool> is_in{false};
    std::atomic<bool> may_go{false};
    ASSERT_TRUE(other->add<sleep_here>([&](std::int32_t) {
        is_in = true;
        while (!may_go) std::this_thread::sleep_for(milliseconds(1));
    }));
    auto future = other->async<ask_sleep_on_worker>(0, 0);
    std::thread waiting([&] { EXPECT_TRUE(future.wait_for(seconds(10))); });
    ASSERT_TRUE(soon([&] { return is_in.load(); }));
    EXPECT_EQ(client_.call<ask_twice_on_worker>(4).value(), 8) << "others are served";
    may_go = true;
    waiting.join();
    EXPECT_EQ(future.get().value().status, VMRPC_OK);
}

}  // namespace
}  // namespace conformance
