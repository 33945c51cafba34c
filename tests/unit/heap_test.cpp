// The heap of a connection from both sides: local and remote frees, the spill, rings, and heaps set up within it.
#include "heap/heap.hpp"

#include "heap_sides.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

namespace vmrpc::heap::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::uint32_t kEntries = RemoteFreeQueue::kEntries;

void* must(Heap& heap, std::size_t bytes, const Options& options = {}) {
    const auto block = heap.allocate(bytes, options);
    EXPECT_TRUE(block) << text_of(block);
    return block.value_or(nullptr);
}

std::vector<void*> must_many(Heap& heap, std::size_t count, std::size_t bytes) {
    std::vector<void*> blocks(count);
    for (void*& block : blocks) block = must(heap, bytes);
    return blocks;
}

std::uint64_t live(const OneSide& side) {
    return side.heap.stats().own.live_blocks;
}

TEST(Heap, AllocatesInItsOwnArenaAndFreesThere) {
    Sides sides;
    for (const Side side : {Side::kClient, Side::kServer}) {
        Heap& heap = sides.of(side).heap;
        void* block = must(heap, 1'000);
        const auto offset = static_cast<std::uint64_t>(static_cast<std::byte*>(block) - sides.segment.base());
        EXPECT_TRUE(layout::holds(sides.segment.arena(side), offset, 1'000));
        std::memset(block, 0xa5, 1'000);
        EXPECT_EQ(heap.stats().own.live_blocks, 1U);
        EXPECT_TRUE(heap.release(block));
        EXPECT_EQ(heap.stats().own.live_blocks, 0U);
    }
}

TEST(Heap, AddressesAreAligned) {
    Sides sides(std::uint64_t{16} << 20);
    for (std::size_t alignment = 1; alignment <= kMaxAlignment; alignment *= 2) {
        void* block = must(sides.server.heap, 100, {.alignment = alignment});
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % alignment, 0U);
        EXPECT_TRUE(sides.server.heap.release(block));
    }
}

TEST(Heap, ImpossibleRequestsAreRefused) {
    Sides sides;
    Heap& heap = sides.client.heap;
    EXPECT_EQ(status_of(heap.allocate(1, {.alignment = 48})), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(status_of(heap.allocate(1, {.alignment = 0})), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(status_of(heap.allocate(std::numeric_limits<std::size_t>::max())), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(status_of(heap.allocate(1, {.heap = 7})), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(status_of(heap.allocate(std::size_t{5} << 20)), VMRPC_HEAP_FULL);
}

TEST(Heap, ContainsWhatLiesWithinOneArena) {
    const Sides sides;
    const Heap& heap = sides.client.heap;
    for (const Side side : {Side::kClient, Side::kServer}) {
        const layout::Extent arena = sides.segment.arena(side);
        const std::byte* first = sides.segment.base() + arena.offset;
        EXPECT_TRUE(heap.contains(first, arena.bytes));
        EXPECT_TRUE(heap.contains(first + arena.bytes - 1, 1));
        EXPECT_FALSE(heap.contains(first, arena.bytes + 1));
        EXPECT_FALSE(heap.contains(first + 1, std::numeric_limits<std::size_t>::max()));
    }
    EXPECT_FALSE(heap.contains(sides.segment.base() + sides.segment.arena(Side::kClient).offset - 1, 1));
    EXPECT_FALSE(heap.contains(sides.segment.base() - 1, 1));
    EXPECT_FALSE(heap.contains(nullptr, 1));
    EXPECT_FALSE(heap.contains(&sides, 1));
}

TEST(HeapFree, NullIsIgnored) {
    Sides sides;
    EXPECT_TRUE(sides.client.heap.release(nullptr));
}

TEST(HeapFree, ForeignPointersAreRefused) {
    Sides sides;
    const layout::Extent last = sides.segment.arena(Side::kServer);
    for (void* pointer :
         {static_cast<void*>(&sides), static_cast<void*>(sides.segment.base()),
          static_cast<void*>(sides.segment.base() - 16), static_cast<void*>(sides.segment.base() + last.end())}) {
        const auto freed = sides.client.heap.release(pointer);
        EXPECT_EQ(status_of(freed), VMRPC_BAD_FREE);
        EXPECT_THAT(text_of(freed), HasSubstr("not in this connection's heap"));
    }
    EXPECT_THAT(sides.client.violations(), IsEmpty());
}

TEST(HeapFree, LocalDoubleFreeIsRefused) {
    Sides sides;
    void* block = must(sides.client.heap, 100);
    EXPECT_TRUE(sides.client.heap.release(block));
    EXPECT_EQ(status_of(sides.client.heap.release(block)), VMRPC_BAD_FREE);
}

TEST(HeapFree, TheMiddleOfAnOwnBlockIsRefused) {
    Sides sides;
    auto* block = static_cast<std::byte*>(must(sides.client.heap, 100));
    EXPECT_EQ(status_of(sides.client.heap.release(block + 16)), VMRPC_BAD_FREE);
    EXPECT_TRUE(sides.client.heap.release(block));
}

TEST(HeapFree, WhatCannotBeAPeersBlockIsRefusedHere) {
    Sides sides;
    auto* block = static_cast<std::byte*>(must(sides.client.heap, 100));
    EXPECT_EQ(status_of(sides.server.heap.release(block + 8)), VMRPC_BAD_FREE);
    EXPECT_FALSE(sides.client.heap.has_remote_frees());
    EXPECT_EQ(sides.server.heap.stats().remote_frees_sent, 0U);
}

TEST(HeapFree, APeersBlockGoesBackToItsOwner) {
    Sides sides;
    void* block = must(sides.client.heap, 100);
    EXPECT_FALSE(sides.client.heap.has_remote_frees());
    EXPECT_TRUE(sides.server.heap.release(block));
    EXPECT_TRUE(sides.client.heap.has_remote_frees());
    EXPECT_EQ(live(sides.client), 1U);
    EXPECT_TRUE(sides.client.heap.drain());
    EXPECT_FALSE(sides.client.heap.has_remote_frees());
    EXPECT_EQ(live(sides.client), 0U);
    EXPECT_EQ(sides.server.heap.stats().remote_frees_sent, 1U);
    EXPECT_EQ(sides.client.heap.stats().remote_frees_received, 1U);
}

TEST(HeapFree, ALocalFreeAfterARemoteOneIsADoubleFree) {
    Sides sides;
    void* block = must(sides.client.heap, 100);
    EXPECT_TRUE(sides.server.heap.release(block));
    EXPECT_TRUE(sides.client.heap.release(block));  // which has not heard of the other free
    EXPECT_EQ(status_of(sides.client.heap.drain()), VMRPC_POISONED);
    EXPECT_THAT(sides.client.violations(), SizeIs(1));
    EXPECT_EQ(live(sides.client), 0U);
}

TEST(HeapFree, ReleaseOfALargeBlockTakesRemoteFreesToo) {
    Sides sides;
    void* mine = must(sides.client.heap, 200'000);
    EXPECT_TRUE(sides.server.heap.release(must(sides.client.heap, 100)));
    EXPECT_TRUE(sides.client.heap.release(mine));
    EXPECT_EQ(live(sides.client), 0U);
}

TEST(HeapFree, AllocationTakesRemoteFreesBeforeFreshSpans) {
    Sides sides(2 * kSpanBytes);
    void* block = must(sides.client.heap, 2 * kSpanBytes);
    EXPECT_EQ(status_of(sides.client.heap.allocate(2 * kSpanBytes)), VMRPC_HEAP_FULL);
    EXPECT_TRUE(sides.server.heap.release(block));
    EXPECT_EQ(must(sides.client.heap, 2 * kSpanBytes), block);
    EXPECT_EQ(sides.client.heap.stats().remote_frees_received, 1U);
}

TEST(HeapFree, AllocationFromAnOpenSpanLeavesRemoteFreesForLater) {
    Sides sides;
    void* block = must(sides.client.heap, 100);
    EXPECT_TRUE(sides.server.heap.release(block));
    EXPECT_NE(must(sides.client.heap, 100), block);
    EXPECT_TRUE(sides.client.heap.has_remote_frees());
}

TEST(HeapFree, ManyTimesTheQueueInTurnsComesBackInFull) {
    Sides sides;
    for (int round = 0; round < 100; ++round) {
        for (void* block : must_many(sides.client.heap, 1'000, 40)) EXPECT_TRUE(sides.server.heap.release(block));
        EXPECT_TRUE(sides.client.heap.drain());
    }
    EXPECT_EQ(live(sides.client), 0U);
    EXPECT_EQ(sides.client.heap.stats().remote_frees_received, 100'000U);
    EXPECT_EQ(sides.server.rings, 0);
}

TEST(HeapSpill, AFullQueueLosesNothingAndNeverBlocks) {
    Sides sides;
    const auto blocks = must_many(sides.client.heap, 10'000, 40);
    for (void* block : blocks) EXPECT_TRUE(sides.server.heap.release(block));
    EXPECT_EQ(sides.server.heap.stats().remote_frees_sent, kEntries);
    EXPECT_EQ(sides.server.heap.stats().spilled_now, 10'000 - kEntries);
    EXPECT_TRUE(sides.client.heap.drain());
    EXPECT_EQ(live(sides.client), 10'000 - kEntries);
    sides.settle();
    EXPECT_EQ(live(sides.client), 0U);
    EXPECT_EQ(sides.client.heap.stats().remote_frees_received, 10'000U);
    EXPECT_EQ(sides.server.heap.stats().remote_frees_sent, 10'000U);
    EXPECT_THAT(sides.client.violations(), IsEmpty());
    EXPECT_THAT(sides.server.violations(), IsEmpty());
}

/// A server with one free that has spilled, while its client has just drained.
struct Spilled : Sides {
    Spilled() {
        for (void* block : must_many(client.heap, kEntries + 1, 40)) EXPECT_TRUE(server.heap.release(block));
        EXPECT_EQ(server.heap.stats().spilled_now, 1U);
        EXPECT_TRUE(client.heap.drain());
        EXPECT_FALSE(client.heap.has_remote_frees());
    }
    ~Spilled() {
        EXPECT_EQ(server.heap.stats().spilled_now, 0U);
        EXPECT_TRUE(client.heap.drain());
        EXPECT_EQ(live(client), 0U);
    }
    Spilled(const Spilled&) = delete;
    Spilled& operator=(const Spilled&) = delete;
};

TEST(HeapSpill, AllocateRetries) {
    Spilled sides;
    must(sides.server.heap, 16);
}

TEST(HeapSpill, ReleaseRetries) {
    Spilled sides;
    void* block = must(sides.client.heap, 40);
    EXPECT_TRUE(sides.server.heap.release(block));
}

TEST(HeapSpill, DrainRetries) {
    Spilled sides;
    EXPECT_TRUE(sides.server.heap.drain());
}

TEST(HeapRing, OnceForEachTimeThatTheQueuePassesHalfFull) {
    Sides sides;
    for (int round = 1; round <= 3; ++round) {
        const auto blocks = must_many(sides.client.heap, kEntries, 40);
        for (std::size_t i = 0; i < kEntries; ++i) {
            EXPECT_TRUE(sides.server.heap.release(blocks[i]));
            ASSERT_EQ(sides.server.rings, i + 1 < kEntries / 2 ? round - 1 : round) << i;
        }
        EXPECT_TRUE(sides.client.heap.drain());
    }
    EXPECT_EQ(sides.client.rings, 0);
}

TEST(HeapRing, WithEachCallWhileSomethingHasSpilled) {
    Sides sides;
    for (void* block : must_many(sides.client.heap, kEntries, 40)) EXPECT_TRUE(sides.server.heap.release(block));
    ASSERT_EQ(sides.server.rings, 1);
    EXPECT_TRUE(sides.server.heap.release(must(sides.client.heap, 40)));
    EXPECT_EQ(sides.server.rings, 2);
    must(sides.server.heap, 16);
    EXPECT_EQ(sides.server.rings, 3);
    EXPECT_TRUE(sides.client.heap.drain());
    must(sides.server.heap, 16);
    EXPECT_EQ(sides.server.rings, 3);
}

TEST(HeapSetUp, BlocksOfAHeapLieTogetherAndItsEndIsItsOwn) {
    Sides sides;
    const HeapId heap = sides.client.heap.setup(kSpanBytes).value();
    std::uintptr_t lowest = std::numeric_limits<std::uintptr_t>::max();
    std::uintptr_t highest = 0;
    std::vector<void*> blocks;
    for (;;) {
        const auto block = sides.client.heap.allocate(1'024, {.heap = heap});
        if (!block) {
            EXPECT_EQ(status_of(block), VMRPC_HEAP_FULL);
            break;
        }
        blocks.push_back(*block);
        lowest = std::min(lowest, reinterpret_cast<std::uintptr_t>(*block));
        highest = std::max(highest, reinterpret_cast<std::uintptr_t>(*block));
    }
    EXPECT_THAT(blocks, SizeIs(64));
    EXPECT_EQ(highest - lowest, kSpanBytes - 1'024);
    EXPECT_EQ(live(sides.client), 64U);
    EXPECT_EQ(sides.client.heap.stats().own.live_bytes, kSpanBytes);
    EXPECT_EQ(sides.client.heap.stats().own.failed_allocations, 1U);
    must(sides.client.heap, 1'024);  // the main heap has room
    for (void* block : blocks) EXPECT_TRUE(sides.client.heap.release(block));
    EXPECT_TRUE(sides.client.heap.destroy(heap));
    EXPECT_EQ(sides.client.heap.stats().own.failed_allocations, 1U);
}

TEST(HeapSetUp, DestroyGivesTheWholeRangeBack) {
    Sides sides;
    const std::uint64_t all = sides.client.heap.stats().own.reserved_bytes;
    const HeapId heap = sides.client.heap.setup(all).value();
    EXPECT_EQ(status_of(sides.client.heap.allocate(1)), VMRPC_HEAP_FULL);
    EXPECT_EQ(live(sides.client), 0U);
    EXPECT_EQ(sides.client.heap.stats().own.live_bytes, 0U);
    EXPECT_TRUE(sides.client.heap.destroy(heap));
    must(sides.client.heap, all);
}

TEST(HeapSetUp, DestroyIsRefusedWhileBlocksLiveAndSaysHowMany) {
    Sides sides;
    const HeapId heap = sides.client.heap.setup(1).value();
    void* one = must(sides.client.heap, 16, {.heap = heap});
    void* two = must(sides.client.heap, 16, {.heap = heap});
    const auto destroyed = sides.client.heap.destroy(heap);
    EXPECT_EQ(status_of(destroyed), VMRPC_BUSY);
    EXPECT_THAT(text_of(destroyed), HasSubstr("2 live blocks"));
    EXPECT_TRUE(sides.client.heap.release(one));
    EXPECT_EQ(status_of(sides.client.heap.destroy(heap)), VMRPC_BUSY);
    EXPECT_TRUE(sides.server.heap.release(two));  // the peer frees the last one: destroy() looks for that
    EXPECT_TRUE(sides.client.heap.destroy(heap));
}

TEST(HeapSetUp, HeapsThatAreNotThereAreRefused) {
    Sides sides;
    const HeapId heap = sides.client.heap.setup(kSpanBytes).value();
    EXPECT_EQ(status_of(sides.server.heap.allocate(1, {.heap = heap})), VMRPC_BAD_ARGUMENT);  // the other side's
    EXPECT_EQ(status_of(sides.client.heap.destroy(kMainHeap)), VMRPC_BAD_ARGUMENT);
    EXPECT_TRUE(sides.client.heap.destroy(heap));
    EXPECT_EQ(status_of(sides.client.heap.destroy(heap)), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(status_of(sides.client.heap.allocate(1, {.heap = heap})), VMRPC_BAD_ARGUMENT);
    EXPECT_NE(sides.client.heap.setup(kSpanBytes).value(), heap);
}

TEST(HeapSetUp, ImpossibleSizesAreRefused) {
    Sides sides;
    EXPECT_EQ(status_of(sides.client.heap.setup(0)), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(status_of(sides.client.heap.setup(std::numeric_limits<std::size_t>::max())), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(status_of(sides.client.heap.setup((std::size_t{4} << 20) + 1)), VMRPC_HEAP_FULL);
    EXPECT_EQ(live(sides.client), 0U);
}

TEST(HeapSetUp, TheRangeOfAHeapIsNoBlock) {
    Sides sides;
    const HeapId heap = sides.client.heap.setup(kSpanBytes).value();
    void* block = must(sides.client.heap, kSpanBytes, {.heap = heap});
    EXPECT_TRUE(sides.client.heap.release(block));
    EXPECT_EQ(status_of(sides.client.heap.release(block)), VMRPC_BAD_FREE);
    EXPECT_TRUE(sides.client.heap.destroy(heap));
}

TEST(HeapSetUp, BlocksAreFreedInTheHeapInWhichTheyLie) {
    Sides sides;
    const HeapId one = sides.client.heap.setup(kSpanBytes).value();
    const HeapId two = sides.client.heap.setup(2 * kSpanBytes).value();
    void* in_one = must(sides.client.heap, 16, {.heap = one});
    void* in_two = must(sides.client.heap, kSpanBytes + 1, {.heap = two});
    void* in_main = must(sides.client.heap, 16);
    EXPECT_TRUE(sides.client.heap.release(in_two));
    EXPECT_TRUE(sides.client.heap.destroy(two));
    EXPECT_EQ(status_of(sides.client.heap.destroy(one)), VMRPC_BUSY);
    EXPECT_TRUE(sides.client.heap.release(in_main));
    EXPECT_EQ(status_of(sides.client.heap.destroy(one)), VMRPC_BUSY);
    EXPECT_TRUE(sides.client.heap.release(in_one));
    EXPECT_TRUE(sides.client.heap.destroy(one));
}

}  // namespace
}  // namespace vmrpc::heap::test
