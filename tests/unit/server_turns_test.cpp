// Which call a worker takes next: limits of functions and of clients, order, turns.
#include "unit/raw_client.hpp"
#include "unit/serving.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>

namespace serving {
namespace {

using testing::ElementsAreArray;

constexpr auto kOneOfTwo = vmrpc::named<"test.added", std::uint64_t(std::uint64_t)>;
constexpr auto kOtherOfTwo = vmrpc::named<"test.added_too", std::uint64_t(std::uint64_t)>;

TEST(Turns, AFunctionsLimitIsKeptAndReached) {
    Server server({.workers = 4});
    std::atomic<int> running{0};
    std::atomic<int> most{0};
    EXPECT_TRUE(server.server.add<kOneOfTwo>(
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
                if (client.call<kOneOfTwo>(i) != i) return VMRPC_FUNCTION_FAILED;
            }
            return VMRPC_OK;
        }));
    }
    for (auto& caller : callers) EXPECT_EQ(caller->ended(), VMRPC_OK);
    EXPECT_EQ(most, 2);
}

TEST(Turns, AFunctionAtItsLimitLeavesTheWorkersToOthers) {
    Server server({.workers = 2});
    EXPECT_TRUE(server.server.add<kOneOfTwo>(
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

TEST(Turns, OrderedCallsOfAConnectionRunInTheirOrder) {
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
    EXPECT_TRUE(server.server.add<kOneOfTwo>(noting, {.pooled = true, .ordered = true}));
    EXPECT_TRUE(server.server.add<kOtherOfTwo>(noting, {.pooled = true, .ordered = true, .max_running = 1}));
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

TEST(Turns, OrderedCallsOfDifferentConnectionsRunAtOnce) {
    Server server({.workers = 2});
    EXPECT_TRUE(server.server.add<kOneOfTwo>(
        [&](std::uint64_t what) {
            server.gate.pass();
            return what;
        },
        {.pooled = true, .ordered = true}));
    server.start();
    const auto first = server.connect();
    const auto second = server.connect();
    Caller one([&] { return status_of(first.call<kOneOfTwo>(1U)); });
    Caller another([&] { return status_of(second.call<kOneOfTwo>(2U)); });
    EXPECT_TRUE(server.gate.holds(2));
    server.gate.open();
}

TEST(Turns, AClientsLimitLeavesWorkersToOthers) {
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

TEST(Turns, ClientsHaveTurns) {
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

TEST(Turns, AFloodStarvesNobody) {
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

TEST(Turns, TurnsOfOneConnectionAreShared) {
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

}  // namespace
}  // namespace serving
