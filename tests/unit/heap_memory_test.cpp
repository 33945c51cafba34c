// Private memory for the heap's bookkeeping: how much there is of it, and what happens when there is none. This program
// replaces operator new to count bytes and to refuse them.
#include "heap/own_arenas.hpp"
#include "heap_sides.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

namespace {

std::uint64_t allocated_bytes = 0;
long refuse_after = -1;  // allocations that still succeed; -1: all

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t bytes) {
    if (refuse_after == 0) throw std::bad_alloc{};
    if (refuse_after > 0) --refuse_after;
    allocated_bytes += bytes;
    void* memory = std::malloc(bytes);
    if (memory == nullptr) throw std::bad_alloc{};
    return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}

namespace vmrpc::heap::test {
namespace {

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

TEST(HeapMemory, BookkeepingGrowsWithUseAndNotWithTheReservation) {
    const std::uint64_t before = allocated_bytes;
    Arena arena({0, 512 * kGiB});
    EXPECT_LT(allocated_bytes - before, 256 * 1024U);
    const auto half = arena.allocate(256 * kGiB);
    const auto rest = arena.allocate(255 * kGiB);
    const auto last = arena.allocate(kGiB - kSpanBytes);
    ASSERT_TRUE(half && rest && last);
    const auto small = arena.allocate(64);
    ASSERT_TRUE(small);
    EXPECT_EQ(*small, 512 * kGiB - kSpanBytes);
    EXPECT_LT(allocated_bytes - before, 512 * 1024U);
    for (const std::uint64_t offset : {*rest, *small, *half, *last}) EXPECT_TRUE(arena.free(offset));
    EXPECT_TRUE(arena.allocate(512 * kGiB));
}

TEST(HeapMemory, AnIdleArenaOfEightGiBTakesLittle) {
    const std::uint64_t before = allocated_bytes;
    const Arena arena({0, 8 * kGiB});
    EXPECT_LT(allocated_bytes - before, 64 * 1024U);
}

/// Runs `operation` with ever more private memory until it succeeds; each failure is VMRPC_OUT_OF_RESOURCES.
template <class Operation>
auto with_growing_memory(Operation operation, int& failures) {
    for (long granted = 0;; ++granted) {
        refuse_after = granted;
        auto result = operation();
        refuse_after = -1;
        if (result) return *result;
        EXPECT_EQ(status_of(result), VMRPC_OUT_OF_RESOURCES) << text_of(result);
        ++failures;
        if (granted > 100) throw std::bad_alloc{};
    }
}

TEST(HeapMemory, WithoutPrivateMemoryAllocationFailsAndHarmsNothing) {
    Arena arena({kSpanBytes, 2'000 * kSpanBytes});
    std::vector<std::uint64_t> blocks;
    blocks.reserve(1'000);
    int failures = 0;
    for (const std::uint64_t bytes : {16U, 64U * 1024, 100U, 5'000'000U, 20U * 1024 * 1024, 3'000U, 20'000U})
        for (const std::uint64_t alignment : {std::uint64_t{16}, std::uint64_t{128 * 1024}, kMaxAlignment})
            blocks.push_back(with_growing_memory([&] { return arena.allocate(bytes, alignment); }, failures));
    EXPECT_GT(failures, 10);
    EXPECT_EQ(arena.stats().live_blocks, blocks.size());
    EXPECT_EQ(arena.stats().failed_allocations, static_cast<std::uint64_t>(failures));
    refuse_after = 0;  // freeing needs none
    std::size_t freed = 0;
    for (const std::uint64_t block : blocks) freed += arena.free(block).has_value() ? 1U : 0U;
    refuse_after = -1;
    EXPECT_EQ(freed, blocks.size());
    EXPECT_TRUE(arena.allocate(arena.range().bytes));
}

TEST(HeapMemory, WithoutPrivateMemoryNoHeapIsSetUpAndNothingIsLost) {
    OwnArenas arenas({kSpanBytes, 64 * kSpanBytes});
    int failures = 0;
    const HeapId heap = with_growing_memory([&] { return arenas.setup(64 * kSpanBytes); }, failures);
    EXPECT_GT(failures, 3);
    EXPECT_TRUE(arenas.destroy(heap));
    EXPECT_TRUE(arenas.find(kMainHeap).value()->allocate(64 * kSpanBytes));
}

TEST(HeapMemory, WithoutPrivateMemoryARemoteFreeThatSpillsIsRefusedAndCanBeTriedAgain) {
    Sides sides;
    std::vector<void*> blocks;
    for (std::uint32_t i = 0; i <= RemoteFreeQueue::kEntries; ++i)
        blocks.push_back(sides.client.heap.allocate(64).value());
    void* const last = blocks.back();
    blocks.pop_back();
    refuse_after = 0;  // the queue needs none
    std::size_t sent = 0;
    for (void* block : blocks) sent += sides.server.heap.release(block).has_value() ? 1U : 0U;
    const auto refused = sides.server.heap.release(last).has_value();
    refuse_after = -1;
    EXPECT_EQ(sent, RemoteFreeQueue::kEntries);
    EXPECT_FALSE(refused);
    EXPECT_TRUE(sides.server.heap.release(last));
    sides.settle();
    EXPECT_EQ(sides.client.heap.stats().own.live_blocks, 0U);
}

TEST(HeapMemory, WithoutPrivateMemoryAThreadGoesWithoutACache) {
    Sides sides;
    Heap& heap = sides.client.heap;
    // A span is open, and the thread that cut it has ended.
    std::thread([&] { EXPECT_TRUE(heap.release(heap.allocate(64).value())); }).join();
    std::array<void*, 100> blocks{};
    int failures = 0;
    bool has_cache = true;
    std::thread([&] {
        refuse_after = 0;
        for (void*& block : blocks) block = heap.allocate(64).value_or(nullptr);
        has_cache = last_cache_of(heap.serial()) != nullptr;
        for (void* block : blocks) failures += block != nullptr && heap.release(block) ? 0 : 1;
        refuse_after = -1;
    }).join();
    EXPECT_FALSE(has_cache);
    EXPECT_EQ(failures, 0);
    EXPECT_EQ(heap.stats().own.live_blocks, 0U);
}

}  // namespace
}  // namespace vmrpc::heap::test
