// Time limits and cancellation, as the server sees them.
#include "unit/raw_client.hpp"
#include "unit/serving.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace serving {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr auto kRemaining = vmrpc::named<"test.remaining", std::int64_t()>;  // nanoseconds; -1: no limit
constexpr auto kRemainingHere = vmrpc::named<"test.remaining_here", std::int64_t()>;
constexpr auto kUntilCancelled = vmrpc::named<"test.until_cancelled", void()>;

std::int64_t remaining_ns() {
    const auto remaining = vmrpc::Caller::remaining();
    return remaining ? remaining->count() : -1;
}

enum class Then { kReturns, kThrows, kWaits };

/// Adds kUntilCancelled, which notes 1 when it starts and 2 when it sees that it is cancelled.
void add_until_cancelled(Server& server, Then then, const vmrpc::AddOptions& options = {.pooled = true}) {
    EXPECT_TRUE(server.server.add<kUntilCancelled>(
        [&server, then] {
            server.log.note(1);
            if (soon([] { return vmrpc::Caller::cancelled(); })) server.log.note(2);
            if (then == Then::kThrows) throw std::runtime_error("gave up");
            if (then == Then::kWaits) server.gate.pass();
        },
        options));
}

TEST(Limit, IsKnownToTheFunction) {
    Server server;
    EXPECT_TRUE(server.server.add<kRemaining>(remaining_ns, {.pooled = true}));
    EXPECT_TRUE(server.server.add<kRemainingHere>(remaining_ns));
    server.start();
    const auto client = server.connect();
    constexpr auto kLimit = std::chrono::hours(1);
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(client.call<kRemaining>().value(), -1);
        EXPECT_EQ(client.call<kRemainingHere>().value(), -1) << "nor is one left from the call before";
        for (const std::int64_t left :
             {client.call_within<kRemaining>(kLimit).value(), client.call_within<kRemainingHere>(kLimit).value()}) {
            EXPECT_GT(left, 0);
            EXPECT_LE(left, nanoseconds(kLimit).count());
        }
    }
    EXPECT_FALSE(vmrpc::Caller::remaining()) << "outside of a call";
    EXPECT_FALSE(vmrpc::Caller::cancelled());
}

// A nanosecond has passed before the request is written.
TEST(Limit, ThatHasPassedWhenItIsPostedIsALimit) {
    Server server;
    EXPECT_TRUE(server.server.add<kRemainingHere>([&server] {
        server.log.note(vmrpc::Caller::remaining() ? 1 : 0);
        return std::int64_t{0};
    }));
    server.start();
    const auto client = server.connect();
    ASSERT_TRUE(client.require<kRemainingHere>());
    std::uint64_t posted = 0;
    for (int i = 0; i < 20; ++i) {
        posted += status_of(client.call_within<kRemainingHere>(nanoseconds(1))) == VMRPC_BUSY ? 0 : 1;
        posted += status_of(client.async_within<kRemainingHere>(nanoseconds(1)).get()) == VMRPC_BUSY ? 0 : 1;
    }
    EXPECT_GT(posted, 0U);
    ASSERT_TRUE(soon([&] { return server.log.all().size() == posted; }));
    EXPECT_THAT(server.log.all(), testing::Each(1U)) << "none of them runs without a limit";
}

TEST(Limit, OfAnyLengthIsUnderstood) {
    Server server;
    EXPECT_TRUE(server.server.add<kRemaining>(remaining_ns, {.pooled = true}));
    server.start();
    RawClient client(server.address());
    const auto call = client.post_empty(kHoldIndex, 0, UINT64_MAX);
    ASSERT_TRUE(server.gate.holds(1));
    server.gate.open();
    EXPECT_EQ(client.status(call), VMRPC_OK) << "a limit beyond all time is none";
}

TEST(Limit, ThatPassedBeforeACallCouldRunMeansThatItDoesNot) {
    Server server({.workers = 1});
    server.start();
    RawClient client(server.address());
    const auto held = client.post_empty(kHoldIndex);
    ASSERT_TRUE(server.gate.holds(1));
    const auto late = client.post(kNoteIndex, 1, 0, 1);  // a nanosecond
    const auto in_time = client.post(kNoteIndex, 2, 0, nanoseconds(std::chrono::hours(1)).count());
    const auto untimed = client.post(kNoteIndex, 3);
    ASSERT_EQ(client.value(client.post(kHereIndex, 5)), 5U) << "they are queued";
    server.gate.open();
    EXPECT_EQ(client.status(held), VMRPC_OK);
    EXPECT_EQ(client.status(late), VMRPC_TIMED_OUT);
    EXPECT_EQ(client.value(in_time), 2U);
    EXPECT_EQ(client.value(untimed), 3U);
    EXPECT_THAT(server.log.all(), testing::ElementsAre(2U, 3U));
}

TEST(Limit, OfACallThatRunsIsSeenByTheFunction) {
    Server server;
    add_until_cancelled(server, Then::kWaits);  // lest its answer comes before its caller gives up
    server.start();
    const auto client = server.connect();
    ASSERT_TRUE(client.require<kUntilCancelled>());
    EXPECT_EQ(status_of(client.call_within<kUntilCancelled>(milliseconds(300))), VMRPC_TIMED_OUT);
    server.gate.open();
    EXPECT_TRUE(soon([&] { return client.call<kHere>(1U) && client.stats().calls_abandoned == 0; }));
    EXPECT_THAT(server.log.all(), testing::ElementsAre(1U, 2U));
}

TEST(Limit, IsSeenOnTheServingThreadToo) {
    Server server;
    add_until_cancelled(server, Then::kWaits, {});
    server.start();
    const auto client = server.connect();
    ASSERT_TRUE(client.require<kUntilCancelled>());
    EXPECT_EQ(status_of(client.call_within<kUntilCancelled>(milliseconds(300))), VMRPC_TIMED_OUT);
    server.gate.open();
    EXPECT_EQ(client.call<kHere>(1U).value(), 1U);
    EXPECT_THAT(server.log.all(), testing::ElementsAre(1U, 2U));
}

TEST(Cancel, ReachesAFunctionThatRuns) {
    for (const bool throws : {false, true}) {
        Server server;
        add_until_cancelled(server, throws ? Then::kThrows : Then::kReturns);
        server.start();
        RawClient client(server.address());
        const auto call = client.post_empty(kAddedIndex);
        ASSERT_TRUE(soon([&] { return server.log.all().size() == 1; }));
        EXPECT_FALSE(client.is_answered(call));
        EXPECT_EQ(client.status(client.cancel(call)), VMRPC_OK);
        EXPECT_EQ(client.status(call), throws ? VMRPC_CANCELLED : VMRPC_OK) << "what it returns is its result";
        EXPECT_EQ(server.log.all().size(), 2U);
        EXPECT_EQ(client.value(client.post(kNoteIndex, 9)), 9U) << "the next call is not cancelled";
    }
}

TEST(Cancel, TakesACallOutOfTheQueue) {
    Server server({.workers = 1});
    server.start();
    RawClient client(server.address());
    const auto held = client.post_empty(kHoldIndex);
    ASSERT_TRUE(server.gate.holds(1));
    const auto unwanted = client.post(kNoteIndex, 1);
    const auto wanted = client.post(kNoteIndex, 2);
    const auto elsewhere = client.post(kNoteIndex, 3, 1);
    EXPECT_EQ(client.status(client.cancel(unwanted)), VMRPC_OK);
    EXPECT_EQ(client.status(unwanted), VMRPC_CANCELLED) << "before any worker is free";
    EXPECT_FALSE(client.is_answered(wanted));
    server.gate.open();
    EXPECT_EQ(client.status(held), VMRPC_OK);
    EXPECT_EQ(client.value(wanted), 2U);
    EXPECT_EQ(client.value(elsewhere, 1), 3U);
    EXPECT_THAT(server.log.all(), testing::UnorderedElementsAre(2U, 3U));
}

TEST(Cancel, OfAnOrderedCallLetsTheNextOneRun) {
    Server server({.workers = 2});
    constexpr auto kFull = vmrpc::named<"test.full", std::uint64_t(std::uint64_t)>;
    constexpr auto kNext = vmrpc::named<"test.next", std::uint64_t(std::uint64_t)>;
    const auto same = [](std::uint64_t what) { return what; };
    EXPECT_TRUE(server.server.add<kFull>(
        [&](std::uint64_t what) {
            server.gate.pass();
            return what;
        },
        {.pooled = true, .ordered = true, .max_running = 1}));
    EXPECT_TRUE(server.server.add<kNext>(same, {.pooled = true, .ordered = true}));
    server.start();
    RawClient other(server.address());
    RawClient client(server.address());
    const auto held = other.post(kAddedIndex, 1);  // uses the function's limit up
    ASSERT_TRUE(server.gate.holds(1));
    const auto first = client.post(kAddedIndex, 2);
    const auto second = client.post(kAddedIndex + 1, 3);
    ASSERT_EQ(client.value(client.post(kHereIndex, 5)), 5U);
    EXPECT_FALSE(client.is_answered(second));
    EXPECT_EQ(client.status(client.cancel(first)), VMRPC_OK);
    EXPECT_EQ(client.status(first), VMRPC_CANCELLED);
    EXPECT_EQ(client.value(second), 3U);
    server.gate.open();
    EXPECT_EQ(other.value(held), 1U);
}

TEST(Cancel, OfWhatIsNotThereDoesNothing) {
    Server server;
    server.start();
    RawClient client(server.address());
    const auto held = client.post_empty(kHoldIndex);
    ASSERT_TRUE(server.gate.holds(1));
    RawClient::Slot unknown = held;
    for (const std::uint64_t sequence : {std::uint64_t{0}, held.sequence + 1, UINT64_MAX}) {
        unknown.sequence = sequence;
        EXPECT_EQ(client.status(client.cancel(unknown)), VMRPC_OK);
    }
    EXPECT_EQ(client.status(client.cancel(held, 1), 1), VMRPC_OK) << "on another lane";
    const auto done = client.post(kNoteIndex, 1);
    ASSERT_EQ(client.value(done), 1U);
    EXPECT_EQ(client.status(client.cancel(done)), VMRPC_OK) << "after its answer";
    EXPECT_FALSE(client.is_answered(held));
    server.gate.open();
    EXPECT_EQ(client.status(held), VMRPC_OK);
}

TEST(Cancel, WithoutWorkersIsAnswered) {
    Server server;
    vmrpc::test::TempFolder folder;
    vmrpc::Server plain(folder.address());
    std::thread thread([&] { EXPECT_TRUE(plain.run()); });
    {
        RawClient client(folder.address());
        EXPECT_EQ(client.status(client.cancel({.index = 0, .sequence = 12})), VMRPC_OK);
    }
    plain.stop();
    thread.join();
}

TEST(Gone, AClientIsKeptUntilItsFunctionsHaveReturned) {
    std::atomic<int> closed{0};
    Server server({.on_close = [&](const vmrpc::Caller&) { ++closed; }, .workers = 2});
    std::atomic<std::uint64_t> sum{0};
    constexpr auto kSum = vmrpc::named<"test.sum", void(vmrpc::InPlace<std::span<const std::uint64_t>>)>;
    EXPECT_TRUE(server.server.add<kSum>(
        [&](vmrpc::InPlace<std::span<const std::uint64_t>> values) {
            const vmrpc::Caller caller = vmrpc::caller();
            server.gate.pass();
            EXPECT_TRUE(vmrpc::Caller::cancelled());
            for (const std::uint64_t value : values) sum += value;  // mapped still
            EXPECT_TRUE(soon([] { return vmrpc_malloc(nullptr, 100, nullptr) == nullptr; }))
                << "the connection is over";
            EXPECT_EQ(caller.connection_number(), 1U);
        },
        {.pooled = true}));
    server.start();
    const auto other = [&] {
        auto client = server.connect();
        auto values = client.heap().make_array<std::uint64_t>(10'000).value();
        for (std::uint64_t& value : values) value = 2;
        EXPECT_TRUE(client.require<kSum>());
        EXPECT_EQ(status_of(client.call_within<kSum>(milliseconds(300), values)), VMRPC_TIMED_OUT);
        EXPECT_TRUE(server.gate.holds(1));
        return server.connect();
    }();  // the first client has gone
    for (std::uint64_t i = 0; i < 50; ++i) ASSERT_EQ(other.call<kNote>(i).value(), i) << "the server goes on";
    EXPECT_EQ(closed, 0);
    server.gate.open();
    EXPECT_TRUE(soon([&] { return closed == 1; }));
    EXPECT_EQ(sum, 20'000U);
}

TEST(Gone, AFunctionOnTheServingThreadSeesIt) {
    Server server;
    add_until_cancelled(server, Then::kReturns, {});
    server.start();
    {
        RawClient client(server.address());
        client.post_empty(kAddedIndex);
        ASSERT_TRUE(soon([&] { return server.log.all().size() == 1; }));
    }
    EXPECT_TRUE(soon([&] { return server.log.all().size() == 2; })) << "while the function runs";
    EXPECT_EQ(server.connect().call<kHere>(1U).value(), 1U);
}

TEST(Gone, WhatWaitsForAClientThatHasGoneDoesNotRun) {
    Server server({.workers = 1});
    server.start();
    const auto other = server.connect();
    {
        RawClient client(server.address());
        client.post_empty(kHoldIndex);
        ASSERT_TRUE(server.gate.holds(1));
        for (std::uint64_t i = 0; i < 10; ++i) client.post(kNoteIndex, i);
        ASSERT_EQ(client.value(client.post(kHereIndex, 1)), 1U);
    }
    Caller mine([&] { return status_of(other.call<kNote>(100U)); });
    // The loss is news to the server before it closes its end, which is before the held function returns.
    std::this_thread::sleep_for(milliseconds(50));
    server.gate.open();
    EXPECT_EQ(mine.ended(), VMRPC_OK);
    EXPECT_EQ(server.log.all().back(), 100U);
}

}  // namespace
}  // namespace serving
