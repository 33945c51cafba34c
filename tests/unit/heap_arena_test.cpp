// The allocator of one side: sizes, alignment, runs, what it refuses, and exact accounting.
#include "heap/arena.hpp"
#include "heap_sides.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <vector>

namespace vmrpc::heap::test {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kSpan = kSpanBytes;
constexpr layout::Extent kRange{3 * kSpan, 64 * kSpan};  // begins at no multiple of 2 MiB

/// Allocates what must succeed.
std::uint64_t must(Arena& arena, std::uint64_t bytes, std::uint64_t alignment = kDefaultAlignment) {
    const auto offset = arena.allocate(bytes, alignment);
    EXPECT_TRUE(offset) << text_of(offset);
    return offset.value_or(0);
}

/// Whether a block of all of the arena can be had: nothing lives, and all free runs are one.
bool is_whole(Arena& arena) {
    const auto all = arena.allocate(arena.range().bytes);
    return all && arena.free(*all);
}

TEST(SizeClass, EveryByteCountGetsTheSmallestClassThatHoldsIt) {
    for (std::uint64_t bytes = 1; bytes <= kMaxSmallBytes; ++bytes) {
        const auto expected = std::lower_bound(kClassBytes.begin(), kClassBytes.end(), bytes) - kClassBytes.begin();
        ASSERT_EQ(class_of(bytes), expected) << bytes;
    }
}

TEST(SizeClass, ClassesAreMultiplesOfTheSmallestBlockAndGrowByAQuarterAtMost) {
    for (std::size_t i = 0; i < kClassCount; ++i) {
        EXPECT_EQ(kClassBytes[i] % kMinBlockBytes, 0U);
        if (i >= kFineClasses) {
            EXPECT_LE(kClassBytes[i] * 4, kClassBytes[i - 1] * 5);
        }
    }
}

TEST(Arena, EveryAlignmentIsHonouredForEverySize) {
    for (std::uint64_t alignment = 1; alignment <= kMaxAlignment; alignment *= 2) {
        Arena arena(kRange);
        for (const std::uint64_t bytes : {0U, 1U, 17U, 100U, 160U, 5'000U, 32'768U, 32'769U, 65'537U, 200'000U}) {
            const std::uint64_t offset = must(arena, bytes, alignment);
            EXPECT_EQ(offset % std::max<std::uint64_t>(alignment, kDefaultAlignment), 0U) << bytes << ' ' << alignment;
            EXPECT_GE(arena.usable_bytes(offset).value_or(0), bytes);
            EXPECT_TRUE(arena.free(offset));
        }
        EXPECT_TRUE(is_whole(arena)) << alignment;
    }
}

TEST(Arena, ARunThatFitsOnlyBecauseItIsAlignedIsFound) {
    Arena arena({29 * kSpan, 100 * kSpan});                // spans 32 and 64 of the segment are multiples of 2 MiB
    const std::uint64_t before = must(arena, 35 * kSpan);  // 29 .. 63
    const std::uint64_t aligned = must(arena, 32 * kSpan, kMaxAlignment);
    ASSERT_EQ(aligned, 64 * kSpan);
    const std::uint64_t after = must(arena, 33 * kSpan);  // 96 .. 128: the arena is full
    EXPECT_EQ(status_of(arena.allocate(1)), VMRPC_HEAP_FULL);
    EXPECT_TRUE(arena.free(aligned));
    EXPECT_EQ(must(arena, 32 * kSpan, kMaxAlignment), aligned);
    for (const std::uint64_t offset : {before, aligned, after}) EXPECT_TRUE(arena.free(offset));
    EXPECT_TRUE(is_whole(arena));
}

TEST(Arena, AlignmentsThatCannotBeAreRefused) {
    Arena arena(kRange);
    for (const std::uint64_t alignment : {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{24}, kMaxAlignment * 2,
                                          std::numeric_limits<std::uint64_t>::max()}) {
        const auto block = arena.allocate(64, alignment);
        EXPECT_EQ(status_of(block), VMRPC_BAD_ARGUMENT);
        EXPECT_THAT(text_of(block), HasSubstr(std::to_string(alignment)));
    }
    EXPECT_EQ(arena.stats().live_blocks, 0U);
}

TEST(Arena, SizesThatCannotBeAreRefused) {
    Arena arena(kRange);
    constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    for (const std::uint64_t bytes : {most, most - 15, most - kSpan, most / 2 + 1, std::uint64_t{1} << 48}) {
        for (const std::uint64_t alignment : {std::uint64_t{16}, kMaxAlignment})
            EXPECT_EQ(status_of(arena.allocate(bytes, alignment)), VMRPC_BAD_ARGUMENT) << bytes;
    }
    EXPECT_TRUE(is_whole(arena));
}

TEST(Arena, SizesLargerThanTheArenaFindItFull) {
    Arena arena(kRange);
    EXPECT_EQ(status_of(arena.allocate(kRange.bytes + 1)), VMRPC_HEAP_FULL);
    EXPECT_EQ(status_of(arena.allocate((std::uint64_t{1} << 48) - 1)), VMRPC_HEAP_FULL);
    EXPECT_EQ(arena.stats().failed_allocations, 2U);
}

TEST(Arena, SizeZeroGivesDistinctBlocks) {
    Arena arena(kRange);
    const std::uint64_t one = must(arena, 0);
    const std::uint64_t two = must(arena, 0);
    EXPECT_NE(one, two);
    EXPECT_EQ(arena.usable_bytes(one).value_or(0), kMinBlockBytes);
}

TEST(Arena, OneBlockCanBeTheWholeArena) {
    Arena arena(kRange);
    const std::uint64_t all = must(arena, kRange.bytes);
    EXPECT_EQ(all, kRange.offset);
    EXPECT_EQ(status_of(arena.allocate(0)), VMRPC_HEAP_FULL);
    EXPECT_TRUE(arena.free(all));
    EXPECT_TRUE(is_whole(arena));
}

TEST(Arena, FullNamesTheSizeTheLargestFreeRunAndTheRemedy) {
    Arena arena(kRange);
    must(arena, 60 * kSpan);
    const auto block = arena.allocate(5 * kSpan);
    EXPECT_EQ(status_of(block), VMRPC_HEAP_FULL);
    EXPECT_THAT(text_of(block), HasSubstr(std::to_string(5 * kSpan) + " bytes"));
    EXPECT_THAT(text_of(block), HasSubstr("largest free run has " + std::to_string(4 * kSpan)));
    EXPECT_THAT(text_of(block), HasSubstr("heap_bytes"));
    EXPECT_EQ(arena.stats().failed_allocations, 1U);
}

TEST(Arena, SmallBlocksFillItToTheLastByte) {
    Arena arena({kSpan, 4 * kSpan});
    std::set<std::uint64_t> blocks;
    while (const auto block = arena.allocate(16)) {
        EXPECT_TRUE(layout::holds(arena.range(), *block, 16));
        EXPECT_TRUE(blocks.insert(*block).second);
    }
    EXPECT_EQ(blocks.size(), 4 * kSpan / 16);
    EXPECT_EQ(arena.stats().live_bytes, 4 * kSpan);
    const std::uint64_t middle = *std::next(blocks.begin(), 7'777);
    EXPECT_TRUE(arena.free(middle));
    EXPECT_EQ(must(arena, 16), middle);  // the only one there is
    for (const std::uint64_t block : blocks) EXPECT_TRUE(arena.free(block));
    EXPECT_TRUE(is_whole(arena));
}

TEST(Arena, EmptySpansOfOneClassServeAnother) {
    Arena arena({kSpan, 2 * kSpan});
    std::vector<std::uint64_t> blocks;
    while (const auto block = arena.allocate(1'024)) blocks.push_back(*block);
    for (const std::uint64_t block : blocks) EXPECT_TRUE(arena.free(block));
    must(arena, 16);
    must(arena, 32);
    EXPECT_EQ(arena.stats().live_blocks, 2U);
}

TEST(Arena, OfTheEmptySpansOfAClassOneIsKept) {
    Arena arena({kSpan, 64 * kSpan});
    std::vector<std::uint64_t> blocks;
    for (std::uint64_t i = 0; i < 3 * kSpan / 1'024; ++i) blocks.push_back(must(arena, 1'024));
    must(arena, kSpan);  // the fourth span
    for (const std::uint64_t block : blocks) EXPECT_TRUE(arena.free(block));
    for (int i = 0; i < 2; ++i) EXPECT_LT(must(arena, kSpan), 4 * kSpan);  // the other two are free
    EXPECT_GT(must(arena, kSpan), 4 * kSpan);
}

TEST(Arena, TheShortestRunThatServesIsTaken) {
    Arena arena({kSpan, 64 * kSpan});
    std::vector<std::uint64_t> holes;
    for (const std::uint64_t spans : {8U, 3U, 2U, 4U}) {
        holes.push_back(must(arena, spans * kSpan));
        must(arena, kSpan);  // keeps the holes apart
    }
    for (const std::uint64_t hole : holes) EXPECT_TRUE(arena.free(hole));
    EXPECT_EQ(must(arena, 2 * kSpan), holes[2]);
    EXPECT_EQ(must(arena, 4 * kSpan), holes[3]);
    EXPECT_EQ(must(arena, 2 * kSpan), holes[1]);  // leaves one span of it
    EXPECT_EQ(must(arena, kSpan), holes[1] + 2 * kSpan);
    EXPECT_EQ(must(arena, 5 * kSpan), holes[0]);
}

TEST(Arena, NeighboursJoinInWhicheverOrderTheyAreFreed) {
    std::array<std::size_t, 4> order{0, 1, 2, 3};
    do {
        Arena arena({kSpan, 10 * kSpan});
        std::vector<std::uint64_t> blocks;
        for (const std::uint64_t spans : {1U, 2U, 3U, 4U}) blocks.push_back(must(arena, spans * kSpan));
        for (const std::size_t i : order) EXPECT_TRUE(arena.free(blocks[i]));
        EXPECT_TRUE(is_whole(arena));
    } while (std::ranges::next_permutation(order).found);
}

TEST(Arena, RunsJoinAcrossTheTablesLeaves) {
    Arena arena({0, 2'000 * kSpan});
    std::vector<std::uint64_t> blocks;
    while (const auto block = arena.allocate(37 * kSpan)) blocks.push_back(*block);
    EXPECT_EQ(blocks.size(), 54U);
    for (std::size_t i = 0; i < blocks.size(); i += 2) EXPECT_TRUE(arena.free(blocks[i]));
    for (std::size_t i = 1; i < blocks.size(); i += 2) EXPECT_TRUE(arena.free(blocks[i]));
    EXPECT_TRUE(is_whole(arena));
}

/// `offset` is refused by free() and by usable_bytes(), with its number in the text and nothing changed.
void expect_refused(Arena& arena, std::uint64_t offset) {
    const ArenaStats before = arena.stats();
    const auto freed = arena.free(offset);
    EXPECT_EQ(status_of(freed), VMRPC_BAD_FREE) << offset;
    EXPECT_THAT(text_of(freed), HasSubstr("offset " + std::to_string(offset)));
    EXPECT_EQ(status_of(arena.usable_bytes(offset)), VMRPC_BAD_FREE);
    EXPECT_EQ(arena.stats().live_blocks, before.live_blocks);
    EXPECT_EQ(arena.stats().live_bytes, before.live_bytes);
}

TEST(Arena, DoubleFreeOfASmallBlockIsCaught) {
    Arena arena(kRange);
    const std::uint64_t neighbour = must(arena, 100);
    const std::uint64_t block = must(arena, 100);
    EXPECT_TRUE(arena.free(block));
    expect_refused(arena, block);
    EXPECT_TRUE(arena.free(neighbour));
    expect_refused(arena, block);
    expect_refused(arena, neighbour);
}

TEST(Arena, DoubleFreeOfALargeBlockIsCaught) {
    Arena arena(kRange);
    const std::uint64_t left = must(arena, 2 * kSpan);
    const std::uint64_t block = must(arena, 3 * kSpan);
    EXPECT_TRUE(arena.free(block));
    expect_refused(arena, block);
    EXPECT_TRUE(arena.free(left));  // joins: the block's first span is now inside a run
    expect_refused(arena, block);
    must(arena, 20 * kSpan);  // covers it
    expect_refused(arena, block);
}

TEST(Arena, TheMiddleOfABlockIsNotFreed) {
    Arena arena(kRange);
    const std::uint64_t small = must(arena, 100);
    for (const std::uint64_t inside : {1U, 15U, 16U, 64U, 111U}) expect_refused(arena, small + inside);
    const std::uint64_t large = must(arena, 3 * kSpan);
    for (const std::uint64_t inside : {std::uint64_t{1}, std::uint64_t{4'096}, kSpan, 2 * kSpan, 2 * kSpan + 16})
        expect_refused(arena, large + inside);
}

TEST(Arena, ASpanOfSmallBlocksLeavesNothingBehindInsideALargeBlock) {
    Arena arena({kSpan, 4 * kSpan});
    const std::uint64_t large = must(arena, kSpan);
    const std::uint64_t small = must(arena, 16);
    EXPECT_TRUE(arena.free(small));
    EXPECT_TRUE(arena.free(large));
    EXPECT_EQ(must(arena, 4 * kSpan), kSpan);  // takes the kept span as well
    expect_refused(arena, small);
    expect_refused(arena, small + 16);
}

TEST(Arena, WhatRemainsBehindTheLastBlockOfASpanIsNoBlock) {
    Arena arena(kRange);
    const std::uint64_t block = must(arena, 20 * 1024);  // three to a span, 4 KiB remain
    const std::uint64_t span = block / kSpan * kSpan;
    expect_refused(arena, span + 3 * 20 * 1024);
}

TEST(Arena, OffsetsOutsideOrNeverAllocatedAreNotFreed) {
    Arena arena(kRange);
    must(arena, 16);
    for (const std::uint64_t offset :
         {std::uint64_t{0}, kRange.offset - 1, kRange.offset + 16, kRange.offset + 5 * kSpan, kRange.end() - 16,
          kRange.end(), std::uint64_t{1} << 48, std::numeric_limits<std::uint64_t>::max()})
        expect_refused(arena, offset);
}

TEST(Arena, AccountsForEveryBlock) {
    Arena arena(kRange);
    EXPECT_EQ(arena.stats().reserved_bytes, kRange.bytes);
    const std::uint64_t small = must(arena, 129);
    const std::uint64_t large = must(arena, kSpan + 1);
    EXPECT_EQ(arena.usable_bytes(small).value_or(0), 160U);
    EXPECT_EQ(arena.usable_bytes(large).value_or(0), 2 * kSpan);
    EXPECT_EQ(arena.stats().live_blocks, 2U);
    EXPECT_EQ(arena.stats().live_bytes, 160 + 2 * kSpan);
    EXPECT_TRUE(arena.free(small));
    EXPECT_TRUE(arena.free(large));
    EXPECT_EQ(arena.stats().live_blocks, 0U);
    EXPECT_EQ(arena.stats().live_bytes, 0U);
}

TEST(Arena, UsesTheWholeSpansOfARangeThatIsNotAligned) {
    Arena arena({kSpan + 100, 3 * kSpan});
    EXPECT_EQ(arena.range().offset, 2 * kSpan);
    EXPECT_EQ(arena.range().bytes, 2 * kSpan);
    EXPECT_EQ(must(arena, 2 * kSpan), 2 * kSpan);
}

TEST(Arena, ARangeWithoutAWholeSpanIsFullFromTheStart) {
    for (const layout::Extent range : {layout::Extent{0, 0}, layout::Extent{100, kSpan}}) {
        Arena arena(range);
        EXPECT_EQ(status_of(arena.allocate(1)), VMRPC_HEAP_FULL);
        EXPECT_EQ(status_of(arena.allocate(kSpan)), VMRPC_HEAP_FULL);
        EXPECT_EQ(status_of(arena.free(100)), VMRPC_BAD_FREE);
    }
}

}  // namespace
}  // namespace vmrpc::heap::test
