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

using testing::ElementsAreArray;
using testing::HasSubstr;

// Indices of functions, as RawClient posts them.
constexpr std::uint32_t kHoldIndex = RawClient::kFirst;
constexpr std::uint32_t kNoteIndex = RawClient::kFirst + 1;
constexpr std::uint32_t kHereIndex = RawClient::kFirst + 3;
constexpr std::uint32_t kAddedIndex = RawClient::kFirst + 4;

constexpr auto kAdded = vmrpc::named<"test.added", std::uint64_t(std::uint64_t)>;
constexpr auto kAddedToo = vmrpc::named<"test.added_too", std::uint64_t(std::uint64_t)>;
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

TEST(Pool, AFunctionsLimitIsKeptAndReached) {
    Server server({.workers = 4});
    std::atomic<int> running{0};
    std::atomic<int> most{0};
    EXPECT_TRUE(server.server.add<kAdded>(
        [&](std::uint64_t what) {
            const int now = ++running;
            int before = most;
            while (before < now && !most.compare_exchange_weak(before, now)) {
            }
            // Until the second is there: the limit is used up.
            soon([&] { return most == 2; });
            --running;
            return what;
        },
        {.pooled = true, .max_running = 2}));
    server.start();
    const auto client = server.connect();
    std::vector<std::unique_ptr<Caller>> callers;
    for (std::uint64_t i = 0; i < 8; ++i) {
        callers.push_back(std::make_unique<Caller>([&client, i] {
            for (std::uint64_t call = 0; call < 50; ++call) {
                if (client.call<kAdded>(i) != i) return VMRPC_FUNCTION_FAILED;
            }
            return VMRPC_OK;
        }));
    }
    for (auto& caller : callers) EXPECT_EQ(caller->ended(), VMRPC_OK);
    EXPECT_EQ(most, 2);
}

TEST(Pool, AFunctionAtItsLimitLeavesTheWorkersToOthers) {
    Server server({.workers = 2});
    EXPECT_TRUE(server.server.add<kAdded>(
        [&](std::uint64_t what) {
            server.gate.pass();
            return what;
        },
        {.pooled = true, .max_running = 1}));
    server.start();
    RawClient client(server.address());
    std::vector<RawClient::Slot> held;
    for (std::uint64_t i = 0; i < 10; ++i) held.push_back(client.post(kAddedIndex, i));
    ASSERT_TRUE(server.gate.holds(1));
    for (std::uint64_t i = 0; i < 20; ++i)
        ASSERT_EQ(client.value(client.post(kNoteIndex, i)), i) << "behind the others";
    server.gate.open();
    for (std::uint64_t i = 0; i < 10; ++i) EXPECT_EQ(client.value(held[i]), i);
}

TEST(Pool, OrderedCallsOfAConnectionRunInTheirOrder) {
    Server server({.workers = 4});
    std::atomic<int> running{0};
    std::atomic<int> overlaps{0};
    const auto noting = [&](std::uint64_t what) {
        if (++running != 1) ++overlaps;
        server.log.note(what);
        std::this_thread::yield();
        --running;
        return what;
    };
    EXPECT_TRUE(server.server.add<kAdded>(noting, {.pooled = true, .ordered = true}));
    EXPECT_TRUE(server.server.add<kAddedToo>(noting, {.pooled = true, .ordered = true, .max_running = 1}));
    server.start();
    RawClient client(server.address());
    std::vector<std::uint64_t> expected(400);
    std::iota(expected.begin(), expected.end(), 0);
    for (std::uint64_t i = 0; i < expected.size();) {
        std::vector<RawClient::Slot> posted;
        for (int batch = 0; batch < 16; ++batch, ++i)
            posted.push_back(client.post(kAddedIndex + static_cast<std::uint32_t>(i % 3 == 0), i));
        for (const auto& slot : posted) ASSERT_EQ(client.status(slot), VMRPC_OK);
    }
    EXPECT_THAT(server.log.all(), ElementsAreArray(expected));
    EXPECT_EQ(overlaps, 0);
}

TEST(Pool, OrderedCallsOfDifferentConnectionsRunAtOnce) {
    Server server({.workers = 2});
    EXPECT_TRUE(server.server.add<kAdded>(
        [&](std::uint64_t what) {
            server.gate.pass();
            return what;
        },
        {.pooled = true, .ordered = true}));
    server.start();
    const auto first = server.connect();
    const auto second = server.connect();
    Caller one([&] { return status_of(first.call<kAdded>(1U)); });
    Caller another([&] { return status_of(second.call<kAdded>(2U)); });
    EXPECT_TRUE(server.gate.holds(2));
    server.gate.open();
}

TEST(Pool, AClientsLimitLeavesWorkersToOthers) {
    Server server({.workers = 2, .max_client_calls = 1});
    server.start();
    RawClient slow(server.address());
    const auto held = slow.post_empty(kHoldIndex);
    const auto waits = slow.post(kNoteIndex, 1'000);
    ASSERT_TRUE(server.gate.holds(1));
    const auto other = server.connect();
    for (std::uint64_t i = 0; i < 50; ++i) ASSERT_EQ(other.call<kNote>(i).value(), i);
    EXPECT_EQ(slow.value(slow.post(kHereIndex, 5)), 5U) << "a call that waits holds up no inline one of its lane";
    EXPECT_FALSE(slow.is_answered(waits));
    server.gate.open();
    EXPECT_EQ(slow.status(held), VMRPC_OK);
    EXPECT_EQ(slow.value(waits), 1'000U);
}

TEST(Pool, ClientsHaveTurns) {
    Server server({.workers = 1});
    server.start();
    RawClient flood(server.address());
    RawClient other(server.address());
    const auto held = flood.post_empty(kHoldIndex);
    ASSERT_TRUE(server.gate.holds(1));
    std::vector<RawClient::Slot> flooding;
    for (std::uint32_t lane = 1; lane < 4; ++lane) {
        for (std::uint64_t i = 0; i < 16; ++i) flooding.push_back(flood.post(kNoteIndex, i, lane));
    }
    // All that came before is in the pool when the second of these is answered: a round looks at every lane.
    for (int i = 0; i < 3; ++i) ASSERT_EQ(flood.value(flood.post(kHereIndex, 1)), 1U);
    const auto mine = other.post(kNoteIndex, 77);
    ASSERT_EQ(other.value(other.post(kHereIndex, 1)), 1U);
    server.gate.open();
    ASSERT_EQ(other.value(mine), 77U);
    EXPECT_EQ(flood.status(held), VMRPC_OK);
    for (std::size_t i = 0; i < flooding.size(); ++i)
        EXPECT_EQ(flood.status(flooding[i], static_cast<std::uint32_t>(1 + i / 16)), VMRPC_OK);
    const auto order = server.log.all();
    const auto place = std::find(order.begin(), order.end(), 77U) - order.begin();
    EXPECT_LE(place, 1) << "behind one call of the other client at most";
}

TEST(Pool, AFloodStarvesNobody) {
    Server server({.workers = 2, .calls_per_turn = 8});
    server.start();
    const auto flood = server.connect();
    const auto other = server.connect();
    std::atomic<bool> is_done{false};
    std::atomic<std::uint64_t> flooded{0};
    std::vector<std::thread> flooding;
    for (std::uint64_t thread = 0; thread < 12; ++thread) {
        flooding.emplace_back([&, thread] {
            while (!is_done) {
                EXPECT_EQ(thread % 2 == 0 ? flood.call<kNote>(1U).value() : flood.call<kHere>(1U).value(), 1U);
                ++flooded;
            }
        });
    }
    ASSERT_TRUE(soon([&] { return flooded > 100; }));
    for (std::uint64_t i = 0; i < 200; ++i) {
        ASSERT_EQ(other.call<kNote>(i).value(), i);
        ASSERT_EQ(other.call<kHere>(i).value(), i);
    }
    is_done = true;
    for (std::thread& thread : flooding) thread.join();
}

TEST(Pool, TurnsOfOneConnectionAreShared) {
    Server server({.workers = 1, .calls_per_turn = 3});  // fewer than one lane's slots: the lanes take turns too
    server.start();
    RawClient client(server.address());
    for (std::uint64_t round = 0; round < 50; ++round) {
        std::array<std::vector<RawClient::Slot>, 4> posted;
        for (std::uint32_t lane = 0; lane < 4; ++lane) {
            for (std::uint64_t i = 0; i < 16; ++i) posted[lane].push_back(client.post(kHereIndex, round + i, lane));
        }
        for (std::uint32_t lane = 4; lane-- > 0;) {
            for (std::uint64_t i = 0; i < 16; ++i) ASSERT_EQ(client.value(posted[lane][i], lane), round + i);
        }
    }
}

TEST(Pool, ASlotOfACallThatRunsCannotBeUsedAgain) {
    Server server;
    server.start();
    for (const std::uint32_t function : {kHoldIndex, RawClient::kFirst + 2}) {  // pooled, and plain on the short way
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

TEST(Pool, OptionsThatDoNotGoTogetherAreRefused) {
    Server server;
    const auto function = [](std::uint64_t what) { return what; };
    vmrpc::test::TempFolder folder;
    vmrpc::Server without(folder.address());
    const auto pooled = without.add<kAdded>(function, {.pooled = true});
    ASSERT_FALSE(pooled);
    EXPECT_EQ(pooled.error().status, VMRPC_BAD_ARGUMENT);
    EXPECT_THAT(pooled.error().text, HasSubstr("workers"));
    EXPECT_EQ(status_of(server.server.add<kAdded>(function, {.ordered = true})), VMRPC_BAD_ARGUMENT);
    vmrpc::test::TempFolder other_folder;
    vmrpc::Server limited(other_folder.address(), {.workers = 1});
    EXPECT_EQ(status_of(limited.add<kAdded>(function, {.max_running = 1})), VMRPC_BAD_ARGUMENT);
    vmrpc::test::TempFolder third_folder;
    EXPECT_EQ(status_of(vmrpc::Server(third_folder.address(), {.workers = 1'000'000}).status()), VMRPC_BAD_ARGUMENT);
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
