// vmrpc_malloc, vmrpc_free and heaps of their own, in and outside of a call.
#include "capi_server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace vmrpc::test {
namespace {

using testing::HasSubstr;

class CapiHeap : public testing::Test {
  protected:
    void* allocate(std::size_t bytes, std::size_t alignment = 0, vmrpc_heap heap = VMRPC_DEFAULT_HEAP) const {
        const vmrpc_malloc_options options{.struct_bytes = sizeof options, .alignment = alignment, .heap = heap};
        return vmrpc_malloc(client.connection, bytes, &options);
    }
    vmrpc_status release(void* block) const { return vmrpc_free(client.connection, block); }
    [[nodiscard]] static vmrpc_heap_options heap_of(std::uint64_t bytes, bool within) {
        vmrpc_heap_options options{};
        options.struct_bytes = sizeof options;
        options.bytes = bytes;
        options.within = within ? 1 : 0;
        return options;
    }
    [[nodiscard]] vmrpc_heap set_up(std::uint64_t bytes, bool within) const {
        const vmrpc_heap_options options = heap_of(bytes, within);
        vmrpc_heap heap = VMRPC_DEFAULT_HEAP;
        EXPECT_EQ(vmrpc_heap_setup(client.connection, &options, &heap), VMRPC_OK) << VMRPC_LAST_ERROR_TEXT();
        return heap;
    }

    CapiServer server;
    CapiClient client{server};
};

TEST_F(CapiHeap, AlignsBlocks) {
    for (std::size_t alignment = 1; alignment <= std::size_t{2} << 20; alignment *= 2) {
        void* block = allocate(100, alignment);
        ASSERT_NE(block, nullptr) << alignment << ": " << VMRPC_LAST_ERROR_TEXT();
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % alignment, 0U);
        std::memset(block, 0x5a, 100);
        EXPECT_EQ(release(block), VMRPC_OK);
    }
    EXPECT_EQ(client.stats().live_blocks, 0U);
}

TEST_F(CapiHeap, RefusesAlignmentsThatCannotBe) {
    for (const std::size_t alignment : {std::size_t{3}, std::size_t{4} << 20}) {
        EXPECT_EQ(allocate(1, alignment), nullptr);
        EXPECT_EQ(VMRPC_LAST_STATUS(), VMRPC_BAD_ARGUMENT);
    }
}

TEST_F(CapiHeap, RefusesOptionsOfAnotherVersion) {
    const vmrpc_malloc_options options{.struct_bytes = 8, .alignment = 0, .heap = 0};
    EXPECT_EQ(vmrpc_malloc(client.connection, 1, &options), nullptr);
    EXPECT_EQ(VMRPC_LAST_STATUS(), VMRPC_BAD_ARGUMENT);
}

TEST_F(CapiHeap, GivesBlocksOfNoBytesTheirOwnAddress) {
    void* first = vmrpc_malloc(client.connection, 0, nullptr);
    void* second = vmrpc_malloc(client.connection, 0, nullptr);
    ASSERT_NE(first, nullptr);
    EXPECT_NE(first, second);
    EXPECT_EQ(release(first), VMRPC_OK);
    EXPECT_EQ(release(second), VMRPC_OK);
}

TEST_F(CapiHeap, SaysWhenItIsFull) {
    EXPECT_EQ(vmrpc_malloc(client.connection, std::size_t{1} << 40, nullptr), nullptr);
    EXPECT_EQ(VMRPC_LAST_STATUS(), VMRPC_HEAP_FULL);
    EXPECT_EQ(vmrpc_malloc(client.connection, SIZE_MAX, nullptr), nullptr);
    EXPECT_NE(VMRPC_LAST_STATUS(), VMRPC_OK);
}

TEST_F(CapiHeap, FreesNullAndNothingElseTwice) {
    EXPECT_EQ(release(nullptr), VMRPC_OK);
    EXPECT_EQ(vmrpc_free(nullptr, nullptr), VMRPC_OK);
    void* block = allocate(100);
    EXPECT_EQ(release(block), VMRPC_OK);
    EXPECT_EQ(release(block), VMRPC_BAD_FREE);
    EXPECT_EQ(capi_nothing_call(client.connection, nullptr), VMRPC_OK) << "an own block's double free harms nobody";
}

TEST_F(CapiHeap, RefusesToFreeWhatIsNoBlock) {
    auto* block = static_cast<char*>(allocate(100));
    int outside = 0;
    EXPECT_EQ(release(block + 16), VMRPC_BAD_FREE);
    EXPECT_EQ(release(&outside), VMRPC_BAD_FREE);
    EXPECT_EQ(release(block), VMRPC_OK);
}

TEST_F(CapiHeap, SaysHowMuchOfABlockCanBeUsed) {
    for (const std::size_t bytes : {1U, 16U, 17U, 1'000U, 40'000U, 1'000'000U}) {
        void* block = allocate(bytes);
        const std::size_t usable = VMRPC_USABLE_BYTES(client.connection, block);
        EXPECT_GE(usable, bytes);
        EXPECT_LE(usable, bytes + std::max<std::size_t>(bytes / 2, 65'536));
        std::memset(block, 0x5a, usable);
        EXPECT_EQ(release(block), VMRPC_OK);
        EXPECT_EQ(VMRPC_USABLE_BYTES(client.connection, block), 0U) << "it is freed";
    }
    int outside = 0;
    EXPECT_EQ(VMRPC_USABLE_BYTES(client.connection, &outside), 0U);
    EXPECT_EQ(VMRPC_USABLE_BYTES(client.connection, nullptr), 0U);
    EXPECT_EQ(VMRPC_USABLE_BYTES(nullptr, &outside), 0U);
}

/// In a segment of its own, or inside this side's half.
class CapiFurtherHeap : public CapiHeap, public testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(OfBothKinds, CapiFurtherHeap, testing::Bool());

TEST_P(CapiFurtherHeap, CountsWhatLivesInEachHeap) {
    const auto stats_of = [&](vmrpc_heap heap) {
        vmrpc_heap_stats stats{};
        stats.struct_bytes = sizeof stats;
        EXPECT_EQ(VMRPC_HEAP_STATS(client.connection, heap, &stats), VMRPC_OK) << VMRPC_LAST_ERROR_TEXT();
        return stats;
    };
    const vmrpc_heap heap = set_up(1 << 20, GetParam());
    void* in_main = allocate(100);
    void* in_heap = allocate(1'000, 0, heap);
    EXPECT_EQ(stats_of(VMRPC_DEFAULT_HEAP).live_blocks, 1U);
    EXPECT_EQ(stats_of(VMRPC_DEFAULT_HEAP).live_bytes, 112U);
    EXPECT_EQ(stats_of(heap).live_blocks, 1U);
    EXPECT_EQ(stats_of(heap).live_bytes, 1'024U);
    EXPECT_EQ(stats_of(heap).reserved_bytes, 1U << 20);
    EXPECT_EQ(allocate(2 << 20, 0, heap), nullptr);
    EXPECT_EQ(stats_of(heap).failed_allocations, 1U);
    EXPECT_EQ(release(in_main), VMRPC_OK);
    EXPECT_EQ(release(in_heap), VMRPC_OK);
    EXPECT_EQ(stats_of(VMRPC_DEFAULT_HEAP).live_blocks, 0U);
    EXPECT_EQ(stats_of(heap).live_blocks, 0U);
    vmrpc_heap_stats wrong{};
    EXPECT_EQ(VMRPC_HEAP_STATS(client.connection, heap, &wrong), VMRPC_BAD_ARGUMENT) << "struct_bytes is 0";
    EXPECT_EQ(VMRPC_HEAP_STATS(client.connection, heap, nullptr), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(vmrpc_impl_read_stats(client.connection, nullptr), VMRPC_BAD_ARGUMENT);
    wrong.struct_bytes = sizeof wrong;
    EXPECT_EQ(VMRPC_HEAP_STATS(client.connection, heap + 1, &wrong), VMRPC_BAD_ARGUMENT);
}

TEST_F(CapiHeap, NeedsAConnectionOutsideOfACall) {
    EXPECT_EQ(vmrpc_malloc(nullptr, 1, nullptr), nullptr);
    EXPECT_EQ(VMRPC_LAST_STATUS(), VMRPC_BAD_ARGUMENT);
    EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr("no connection was given"));
}

TEST_F(CapiHeap, TakesNullForTheCallersConnectionInACall) {
    std::int32_t failed_step = -1;
    ASSERT_EQ(capi_heap_steps_call(client.connection, nullptr, &failed_step), VMRPC_OK);
    EXPECT_EQ(failed_step, 0) << "step of capi_heap_steps";
}

TEST_P(CapiFurtherHeap, IsBounded) {
    const vmrpc_heap heap = set_up(1 << 20, GetParam());
    EXPECT_NE(heap, VMRPC_DEFAULT_HEAP);
    void* block = allocate(1000, 0, heap);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(allocate(2 << 20, 0, heap), nullptr);
    EXPECT_EQ(VMRPC_LAST_STATUS(), VMRPC_HEAP_FULL);
    EXPECT_EQ(vmrpc_heap_destroy(client.connection, heap), VMRPC_BUSY);
    EXPECT_EQ(release(block), VMRPC_OK);
    EXPECT_EQ(vmrpc_heap_destroy(client.connection, heap), VMRPC_OK);
    EXPECT_EQ(vmrpc_heap_destroy(client.connection, heap), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(allocate(1, 0, heap), nullptr);
    EXPECT_EQ(VMRPC_LAST_STATUS(), VMRPC_BAD_ARGUMENT);
}

TEST_P(CapiFurtherHeap, IsRefusedIfItCannotBe) {
    vmrpc_heap heap = VMRPC_DEFAULT_HEAP;
    vmrpc_heap_options options = heap_of(0, GetParam());
    EXPECT_EQ(vmrpc_heap_setup(client.connection, &options, &heap), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(vmrpc_heap_setup(client.connection, nullptr, &heap), VMRPC_BAD_ARGUMENT);
    options.bytes = 1 << 20;
    EXPECT_EQ(vmrpc_heap_setup(client.connection, &options, nullptr), VMRPC_BAD_ARGUMENT);
    options.bytes = std::uint64_t{1} << 40;
    EXPECT_EQ(vmrpc_heap_setup(client.connection, &options, &heap), GetParam() ? VMRPC_HEAP_FULL : VMRPC_BAD_ARGUMENT);
    options.prefault = 1;
    options.bytes = 1 << 20;
    if (GetParam()) {
        EXPECT_EQ(vmrpc_heap_setup(client.connection, &options, &heap), VMRPC_BAD_ARGUMENT) << "prefault within";
    }
    options.struct_bytes = 4;
    EXPECT_EQ(vmrpc_heap_setup(client.connection, &options, &heap), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(vmrpc_heap_destroy(client.connection, VMRPC_DEFAULT_HEAP), VMRPC_BAD_ARGUMENT);
}

TEST_F(CapiHeap, HasNoOffsetBetweenEqualAddresses) {
    EXPECT_EQ(vmrpc_offset(client.connection, VMRPC_DEFAULT_HEAP), 0);
}

}  // namespace
}  // namespace vmrpc::test
