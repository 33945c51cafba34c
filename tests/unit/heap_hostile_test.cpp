// A peer that writes what no correct peer writes into the queues: found, told once, and harmless to our own memory.
#include "heap/heap.hpp"
#include "heap_sides.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

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
constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();

/// A client whose peer is played by the test, which writes the tail and entries of the client's queue by hand.
class HostileFreer : public ::testing::Test {
  protected:
    std::uint64_t offset_of(const void* pointer) {
        return static_cast<std::uint64_t>(static_cast<const std::byte*>(pointer) - sides_.segment.base());
    }
    void* allocate(std::size_t bytes) { return sides_.client.heap.allocate(bytes).value(); }
    void free_by_hand(std::uint64_t offset) {
        queue_.offsets[tail_ % kEntries].store_relaxed(offset);
        queue_.tail.store_release(++tail_);
    }

    /// The client finds the violation, names `value`, tells of it once, and goes on with its own memory.
    void expect_poisoned(std::uint64_t value) {
        EXPECT_TRUE(heap_.has_remote_frees());
        const auto drained = heap_.drain();
        EXPECT_EQ(status_of(drained), VMRPC_POISONED);
        EXPECT_THAT(text_of(drained), HasSubstr(std::to_string(value)));
        EXPECT_EQ(status_of(heap_.drain()), VMRPC_POISONED);
        EXPECT_FALSE(heap_.has_remote_frees());  // or a polling thread would never sleep
        ASSERT_THAT(sides_.client.violations(), SizeIs(1));
        EXPECT_EQ(sides_.client.violations()[0].status, VMRPC_POISONED);
        EXPECT_EQ(sides_.client.violations()[0].text, text_of(drained));
        const auto block = heap_.allocate(1'000'000);
        ASSERT_TRUE(block);
        EXPECT_TRUE(heap_.release(*block));
    }

    Sides sides_;
    Heap& heap_ = sides_.client.heap;
    RemoteFreeQueue& queue_ = sides_.segment.queue(Side::kClient);
    std::uint64_t tail_ = 0;
};

TEST_F(HostileFreer, ACorrectOneIsBelieved) {
    free_by_hand(offset_of(allocate(100)));
    EXPECT_TRUE(heap_.drain());
    EXPECT_EQ(heap_.stats().own.live_blocks, 0U);
    EXPECT_THAT(sides_.client.violations(), IsEmpty());
}

TEST_F(HostileFreer, TailBeyondCapacity) {
    queue_.tail.store_release(kEntries + 1);
    expect_poisoned(kEntries + 1);
}

TEST_F(HostileFreer, TailAtTheEndOfNumbers) {
    queue_.tail.store_release(kMost);
    expect_poisoned(kMost);
}

TEST_F(HostileFreer, TailThatGoesBack) {
    for (int i = 0; i < 3; ++i) free_by_hand(offset_of(allocate(100)));
    EXPECT_TRUE(heap_.drain());
    queue_.tail.store_release(2);
    expect_poisoned(2);
}

TEST_F(HostileFreer, TailWithoutEntries) {
    queue_.tail.store_release(kEntries);  // all of them 0: the segment's header
    expect_poisoned(0);
}

TEST_F(HostileFreer, OffsetBeyondTheSegment) {
    free_by_hand(kMost);
    expect_poisoned(kMost);
}

TEST_F(HostileFreer, OffsetInAnotherSegment) {
    const std::uint64_t wire = layout::to_wire(1, offset_of(allocate(100)));
    free_by_hand(wire);
    expect_poisoned(wire);
    EXPECT_EQ(heap_.stats().own.live_blocks, 1U);
}

TEST_F(HostileFreer, OffsetInItsOwnArena) {
    const std::uint64_t offset = offset_of(sides_.server.heap.allocate(100).value());
    free_by_hand(offset);
    expect_poisoned(offset);
    EXPECT_EQ(sides_.server.heap.stats().own.live_blocks, 1U);
}

TEST_F(HostileFreer, OffsetBelowTheArena) {
    const std::uint64_t offset = sides_.segment.arena(Side::kClient).offset - 16;
    free_by_hand(offset);
    expect_poisoned(offset);
}

TEST_F(HostileFreer, OffsetMisaligned) {
    const std::uint64_t offset = offset_of(allocate(100)) + 3;
    free_by_hand(offset);
    expect_poisoned(offset);
    EXPECT_EQ(heap_.stats().own.live_blocks, 1U);
}

TEST_F(HostileFreer, OffsetInTheMiddleOfALargeBlock) {
    const std::uint64_t offset = offset_of(allocate(3 * kSpanBytes)) + kSpanBytes;
    free_by_hand(offset);
    expect_poisoned(offset);
}

TEST_F(HostileFreer, OffsetNeverAllocated) {
    const std::uint64_t offset = offset_of(allocate(100)) + 112;
    free_by_hand(offset);
    expect_poisoned(offset);
}

TEST_F(HostileFreer, OffsetFreedTwice) {
    const std::uint64_t offset = offset_of(allocate(100));
    free_by_hand(offset);
    free_by_hand(offset);
    expect_poisoned(offset);
    EXPECT_EQ(heap_.stats().own.live_blocks, 0U);
    EXPECT_EQ(heap_.stats().remote_frees_received, 1U);
}

TEST_F(HostileFreer, OffsetFreedByBothSides) {
    void* block = allocate(100);
    EXPECT_TRUE(heap_.release(block));
    free_by_hand(offset_of(block));
    expect_poisoned(offset_of(block));
}

TEST_F(HostileFreer, TheRangeOfAHeapThatWasSetUp) {
    const HeapId heap = heap_.setup(kSpanBytes).value();
    void* block = heap_.allocate(kSpanBytes, {.heap = heap}).value();
    EXPECT_TRUE(heap_.release(block));
    free_by_hand(offset_of(block));  // where the heap's range begins
    expect_poisoned(offset_of(block));
    EXPECT_TRUE(heap_.destroy(heap));
}

TEST_F(HostileFreer, IsFoundByAllocateAndByRelease) {
    for (const bool by_allocate : {true, false}) {
        Sides sides;
        void* block = sides.client.heap.allocate(200'000).value();  // not from a cache: then nobody looks
        sides.segment.queue(Side::kClient).tail.store_release(kMost);
        if (by_allocate)
            EXPECT_TRUE(sides.client.heap.allocate(1'000));  // needs a fresh span, so it looks
        else
            EXPECT_TRUE(sides.client.heap.release(block));
        EXPECT_THAT(sides.client.violations(), SizeIs(1));
    }
}

TEST_F(HostileFreer, ScribblesOverEveryByteOfTheHeap) {
    std::vector<void*> blocks;
    for (const std::size_t bytes : {16U, 100U, 5'000U, 100'000U, 1'000'000U}) blocks.push_back(allocate(bytes));
    const layout::Extent arena = sides_.segment.arena(Side::kClient);
    std::memset(sides_.segment.base() + arena.offset, 0xff, arena.bytes);
    for (void* block : blocks) EXPECT_TRUE(heap_.release(block));
    EXPECT_TRUE(heap_.allocate(arena.bytes));
}

RC_GTEST_PROP(HostileFreerProperty, AnyContentsOfTheQueueAreHarmless, ()) {
    Sides sides;
    Heap& heap = sides.client.heap;
    RemoteFreeQueue& queue = sides.segment.queue(Side::kClient);
    std::vector<void*> blocks;
    for (int i = 0; i < 20; ++i) blocks.push_back(heap.allocate(*rc::gen::inRange<std::size_t>(0, 100'000)).value());
    // Offsets that are nearly right are the dangerous ones.
    const auto near_a_block =
        rc::gen::map(rc::gen::pair(rc::gen::inRange<std::size_t>(0, blocks.size()),
                                   rc::gen::element<std::int64_t>(0, 0, 0, 0, 1, -16, 16, 65'536)),
                     [&](const auto& choice) {
                         const auto* at = static_cast<std::byte*>(blocks[choice.first]);
                         return static_cast<std::uint64_t>(at - sides.segment.base() + choice.second);
                     });
    const auto entries = *rc::gen::container<std::vector<std::uint64_t>>(
        rc::gen::weightedOneOf<std::uint64_t>({{20, near_a_block}, {1, rc::gen::arbitrary<std::uint64_t>()}}));
    std::uint64_t tail = 0;
    for (const std::uint64_t entry : entries) queue.offsets[tail++ % kEntries].store_relaxed(entry);
    queue.tail.store_release(*rc::gen::weightedElement<std::uint64_t>({{8, tail}, {1, tail + 1}, {1, kMost}}));

    const bool believed = heap.drain().has_value();
    RC_ASSERT(sides.client.violations().size() == (believed ? 0U : 1U));
    const HeapStats stats = heap.stats();
    RC_ASSERT(stats.own.live_blocks + stats.remote_frees_received == blocks.size());
    std::size_t ours = 0;
    for (void* block : blocks) ours += heap.release(block).has_value() ? 1U : 0U;
    RC_ASSERT(ours == stats.own.live_blocks);
    RC_ASSERT(heap.stats().own.live_bytes == 0U);
    RC_ASSERT(heap.allocate(stats.own.reserved_bytes).has_value());
}

/// A server that frees its peer's blocks, while the test plays the peer and writes the queue's head by hand.
class HostileOwner : public ::testing::Test {
  protected:
    // All that will be freed is allocated first: a client that allocates would also drain, and write its head.
    void SetUp() override {
        for (void*& block : blocks_) block = sides_.client.heap.allocate(40).value();
    }
    /// The server frees `count` blocks of the client's; the last status.
    vmrpc_status free_blocks(std::uint32_t count) {
        vmrpc_status last = VMRPC_OK;
        while (count-- > 0) last = status_of(sides_.server.heap.release(blocks_[next_++]));
        return last;
    }
    void expect_poisoned(std::uint64_t value) {
        EXPECT_EQ(free_blocks(kEntries), VMRPC_POISONED);
        EXPECT_LE(queue_.tail.load_acquire(), kEntries);  // nothing was overwritten
        ASSERT_THAT(sides_.server.violations(), SizeIs(1));
        EXPECT_THAT(sides_.server.violations()[0].text, HasSubstr(std::to_string(value)));
        EXPECT_TRUE(sides_.server.heap.release(sides_.server.heap.allocate(1).value()));
    }

    Sides sides_;
    std::vector<void*> blocks_ = std::vector<void*>(3 * kEntries);
    std::size_t next_ = 0;
    RemoteFreeQueue& queue_ = sides_.segment.queue(Side::kClient);
};

TEST_F(HostileOwner, HeadBeyondTheTail) {
    queue_.head.store_release(kEntries);
    expect_poisoned(kEntries);
}

TEST_F(HostileOwner, HeadAtTheEndOfNumbers) {
    queue_.head.store_release(kMost);
    expect_poisoned(kMost);
}

TEST_F(HostileOwner, HeadThatGoesBack) {
    EXPECT_EQ(free_blocks(kEntries / 2), VMRPC_OK);
    queue_.head.store_release(100);
    EXPECT_EQ(free_blocks(1), VMRPC_OK);  // sees 100
    queue_.head.store_release(99);
    expect_poisoned(99);
}

TEST_F(HostileOwner, HeadThatNeverMovesOnlyFillsTheSpill) {
    EXPECT_EQ(free_blocks(3 * kEntries), VMRPC_OK);
    EXPECT_EQ(queue_.tail.load_acquire(), kEntries);
    EXPECT_EQ(sides_.server.heap.stats().spilled_now, 2 * kEntries);
    EXPECT_THAT(sides_.server.violations(), IsEmpty());
}

}  // namespace
}  // namespace vmrpc::heap::test
