// Functions on workers: who waits for whom, and who does not.
#include "unit/raw_client.hpp"
#include "unit/serving.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <any>
#include <array>
#include <numeric>
#include <set>
#include <stdexcept>

namespace serving {
namespace {

using testing::HasSubstr;

constexpr auto kThrow = vmrpc::named<"test.throw", void()>;
constexpr auto kThrowOddly = vmrpc::named<"test.throw_oddly", void()>;
constexpr auto kFail = vmrpc::named<"test.fail", void()>;
constexpr auto kSquares = vmrpc::named<"test.squares", vmrpc::Array<std::uint64_t>(std::span<const std::uint64_t>)>;
constexpr auto kScale = vmrpc::named<"test.scale", void(std::span<double>, double)>;
constexpr auto kCount = vmrpc::named<"test.count", std::uint64_t()>;

TEST(Pool, ACallThatBlocksHoldsUpNoOther) {
    Server server;
    server.start();
    const auto blocked = server.connect();
    const auto other = server.connect();
    Caller held([&] { return status_of(blocked.call<kHold>()); });
    ASSERT_TRUE(server.gate.holds(1));
    for (std::uint64_t i = 0; i < 100; ++i) {
        ASSERT_EQ(other.call<kNote>(i).value(), i) << "on the other worker";
        ASSERT_EQ(other.call<kHere>(i).value(), i) << "on the serving thread";
        ASSERT_EQ(blocked.call<kHere>(i).value(), i) << "of the same client";
    }
    EXPECT_TRUE(held.is_waiting());
    server.gate.open();
    EXPECT_EQ(held.ended(), VMRPC_OK);
}

TEST(Pool, RepliesComeInAnyOrder) {
    Server server;
    server.start();
    RawClient client(server.address());
    const auto held = client.post_empty(kHoldIndex);
    ASSERT_TRUE(server.gate.holds(1));
    for (std::uint64_t i = 0; i < 50; ++i) {
        const auto pooled = client.post(kNoteIndex, i);
        const auto here = client.post(kHereIndex, i);
        ASSERT_EQ(client.value(here), i);
        ASSERT_EQ(client.value(pooled), i);
    }
    EXPECT_FALSE(client.is_answered(held));
    server.gate.open();
    EXPECT_EQ(client.status(held), VMRPC_OK);
}

TEST(Pool, MoreCallsThanWorkersWait) {
    Server server({.workers = 3});
    server.start();
    const auto client = server.connect();
    std::vector<std::unique_ptr<Caller>> callers;
    for (int i = 0; i < 20; ++i)
        callers.push_back(std::make_unique<Caller>([&] { return status_of(client.call<kHold>()); }));
    ASSERT_TRUE(server.gate.holds(3));
    EXPECT_EQ(client.call<kHere>(7U).value(), 7U);
    EXPECT_EQ(server.gate.inside(), 3) << "one for each worker";
    server.gate.open();
    for (auto& caller : callers) EXPECT_EQ(caller->ended(), VMRPC_OK);
}

TEST(Pool, ASlotOfACallThatRunsCannotBeUsedAgain) {
    Server server;
    server.start();
    for (const std::uint32_t function : {kHoldIndex, kHoldHereIndex}) {  // pooled, and plain on the short way
        RawClient client(server.address());
        const auto held = client.post_empty(kHoldIndex);
        ASSERT_TRUE(soon([&] { return server.gate.inside() != 0; }));
        client.post_again(held, function);
        ASSERT_TRUE(soon([&] { return client.is_poisoned(); }));
        EXPECT_THAT(client.server_text(), HasSubstr("reply slot"));
        EXPECT_EQ(server.connect().call<kHere>(3U).value(), 3U) << "others do not notice";
    }
}

TEST(Pool, WhatAFunctionThrowsReachesItsCaller) {
    Server server;
    EXPECT_TRUE(server.server.add<kThrow>([] { throw std::runtime_error("no such thing"); }, {.pooled = true}));
    EXPECT_TRUE(server.server.add<kThrowOddly>([] { throw 42; }, {.pooled = true}));
    EXPECT_TRUE(server.server.add<kFail>([] { VMRPC_FAIL("failed on purpose"); }, {.pooled = true}));
    server.start();
    const auto client = server.connect();
    for (int i = 0; i < 20; ++i) {
        const auto thrown = client.call<kThrow>();
        ASSERT_FALSE(thrown);
        EXPECT_EQ(thrown.error().status, VMRPC_FUNCTION_FAILED);
        EXPECT_EQ(thrown.error().text, "no such thing");
        EXPECT_EQ(client.call<kThrowOddly>().error().status, VMRPC_FUNCTION_FAILED);
        EXPECT_EQ(client.call<kFail>().error().text, "failed on purpose");
        EXPECT_EQ(client.call<kNote>(1U).value(), 1U);
    }
}

TEST(Pool, DataTravelsAsOnTheServingThread) {
    Server server;
    EXPECT_TRUE(server.server.add<kSquares>(
        [](std::span<const std::uint64_t> values) {
            auto made = vmrpc::make_array<std::uint64_t>(values.size()).value();
            std::transform(values.begin(), values.end(), made.begin(), [](auto value) { return value * value; });
            return made;
        },
        {.pooled = true}));
    EXPECT_TRUE(server.server.add<kScale>(
        [](std::span<double> values, double factor) {
            for (double& value : values) value *= factor;
        },
        {.pooled = true}));
    server.start();
    const auto client = server.connect();
    std::vector<std::thread> threads;
    for (std::uint64_t thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&, thread] {
            for (const std::size_t count : {1U, 100U, 3'000U, 10'000U}) {
                std::vector<std::uint64_t> values(count);
                std::iota(values.begin(), values.end(), thread);
                const auto squares = client.call<kSquares>(values);
                ASSERT_TRUE(squares) << squares.error().message();
                for (std::size_t i = 0; i < count; ++i) ASSERT_EQ((*squares)[i], values[i] * values[i]);
                std::vector<double> scaled(count, 2.0);
                ASSERT_TRUE(client.call<kScale>(scaled, 1.5));
                ASSERT_EQ(std::count(scaled.begin(), scaled.end(), 3.0), static_cast<std::ptrdiff_t>(count));
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
}

TEST(Pool, AWorkerKnowsItsCaller) {
    Server server;
    EXPECT_TRUE(server.server.add<kCount>(
        [] {
            std::any& state = vmrpc::caller().state();
            if (!state.has_value()) state = std::uint64_t{0};
            return ++std::any_cast<std::uint64_t&>(state);
        },
        {.pooled = true, .ordered = true}));
    server.start();
    const auto first = server.connect();
    const auto second = server.connect();
    for (std::uint64_t i = 1; i <= 20; ++i) EXPECT_EQ(first.call<kCount>().value(), i);
    EXPECT_EQ(second.call<kCount>().value(), 1U) << "each connection has its own state";
}

TEST(Pool, AStackThatIsLentIsNotUsed) {
    Server server({.trust_peer = true, .borrow_stack = true, .workers = 1});
    server.start();
    const auto client = server.connect({.trust_peer = true, .borrow_stack = true});
    const auto done = vmrpc::on_rpc_stack(client, [&] {
        EXPECT_EQ(client.call<kNote>(5U).value(), 5U);
        EXPECT_EQ(client.call<kHere>(6U).value(), 6U);
    });
#if !defined(__SANITIZE_ADDRESS__)
    EXPECT_TRUE(done) << done.error().message();
#endif
}

TEST(Pool, EveryCallOfManyIsAnsweredOnce) {
    Server server({.workers = 3, .max_client_calls = 2});
    server.start();
    std::vector<std::thread> threads;
    std::atomic<std::uint64_t> pooled{0};
    for (std::uint64_t client_number = 0; client_number < 3; ++client_number) {
        threads.emplace_back([&, client_number] {
            RawClient client(server.address());
            std::uint64_t value = client_number << 32;
            for (int round = 0; round < 60; ++round) {
                std::array<std::vector<std::pair<RawClient::Slot, std::uint64_t>>, 4> posted;
                for (std::uint32_t lane = 0; lane < 4; ++lane) {
                    for (int i = 0; i < 16; ++i, ++value) {
                        pooled += value % 3 == 0 ? 0 : 1;
                        posted[lane].emplace_back(client.post(value % 3 == 0 ? kHereIndex : kNoteIndex, value, lane),
                                                  value);
                    }
                }
                for (std::uint32_t lane = 0; lane < 4; ++lane) {
                    for (const auto& [slot, expected] : posted[lane]) ASSERT_EQ(client.value(slot, lane), expected);
                }
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    const auto noted = server.log.all();
    EXPECT_EQ(noted.size(), pooled);
    EXPECT_EQ(std::set<std::uint64_t>(noted.begin(), noted.end()).size(), noted.size()) << "none ran twice";
}

}  // namespace
}  // namespace serving
