// The monotonic buffer, in C's words and in C++.
#include "conformance/fixture.hpp"

#include <vmrpc/buffer.hpp>

#include <cstdint>
#include <cstring>
#include <new>
#include <set>
#include <vector>

namespace conformance {
namespace {

bool is_aligned(const void* at, std::size_t alignment) {
    return reinterpret_cast<std::uintptr_t>(at) % alignment == 0;
}

using Buffers = Calls;

TEST_F(Buffers, GiveDistinctAlignedMemoryOfTheHeap) {
    const auto client = connect();
    vmrpc::MonotonicBuffer buffer(client.heap(), 256);
    std::vector<std::pair<unsigned char*, std::size_t>> blocks;
    for (std::size_t i = 0; i < 2'000; ++i) {
        const std::size_t alignment = std::size_t{1} << i % 8;
        const std::size_t bytes = 1 + i * 7 % 100;
        auto* const block = static_cast<unsigned char*>(buffer.allocate(bytes, alignment));
        ASSERT_NE(block, nullptr);
        ASSERT_TRUE(is_aligned(block, alignment));
        ASSERT_NE(vmrpc_impl_to_wire(client.handle(), block), 0U);
        std::memset(block, static_cast<int>(i % 251), bytes);
        blocks.emplace_back(block, bytes);
    }
    for (std::size_t i = 0; i < blocks.size(); ++i)
        for (std::size_t at = 0; at < blocks[i].second; ++at) ASSERT_EQ(blocks[i].first[at], i % 251) << i;
    EXPECT_LT(client.stats().live_blocks, 20U) << "blocks double";
}

TEST_F(Buffers, FreeAllAtOnceAndStartAgain) {
    const auto client = connect();
    vmrpc::MonotonicBuffer buffer(client.heap());
    EXPECT_EQ(client.stats().live_blocks, 0U) << "nothing before it is needed";
    for (int round = 0; round < 3; ++round) {
        ASSERT_NE(buffer.allocate_array<double>(100'000), nullptr) << "more than a block";
        ASSERT_NE(buffer.allocate(0, 1), nullptr);
        EXPECT_GE(client.stats().live_blocks, 1U);
        buffer.release();
        EXPECT_EQ(client.stats().live_blocks, 0U);
    }
}

TEST_F(Buffers, RefuseWhatCannotBe) {
    const auto client = connect({.heap_bytes = 4 << 20});
    vmrpc::MonotonicBuffer buffer(client.heap());
    for (const bool is_fresh : {true, false}) {
        EXPECT_EQ(buffer.allocate(1, 0), nullptr) << is_fresh;
        EXPECT_EQ(vmrpc::MonotonicBuffer::why().status, VMRPC_BAD_ARGUMENT);
        EXPECT_EQ(buffer.allocate(100 << 20), nullptr);
        EXPECT_EQ(vmrpc::MonotonicBuffer::why().status, VMRPC_HEAP_FULL);
        EXPECT_EQ(buffer.allocate(SIZE_MAX), nullptr);
        EXPECT_EQ(buffer.allocate_array<double>(SIZE_MAX / 4), nullptr) << "whose bytes wrap";
        ASSERT_NE(buffer.allocate(1), nullptr);
    }
}

TEST_F(Buffers, UseAHeapToItsEnd) {
    const auto client = connect({.heap_bytes = 4 << 20});
    vmrpc::MonotonicBuffer buffer(client.heap());
    std::size_t kilobytes = 0;
    while (buffer.allocate(1'024) != nullptr) ++kilobytes;
    EXPECT_EQ(vmrpc::MonotonicBuffer::why().status, VMRPC_HEAP_FULL);
    EXPECT_GT(kilobytes, 1'024U) << "smaller blocks when the next one does not fit";
    buffer.release();
    EXPECT_TRUE(client.heap().make_array<std::byte>(1 << 20));
}

TEST_F(Buffers, InCsWords) {
    const auto client = connect();
    vmrpc_buffer buffer = VMRPC_BUFFER(client.handle(), 100);
    std::set<void*> blocks;
    for (int i = 0; i < 1'000; ++i) blocks.insert(VMRPC_BUFFER_ALLOCATE(&buffer, 16, 8));
    EXPECT_EQ(blocks.size(), 1'000U);
    EXPECT_EQ(blocks.count(nullptr), 0U);
    EXPECT_EQ(VMRPC_BUFFER_RELEASE(&buffer), VMRPC_OK);
    EXPECT_EQ(client.stats().live_blocks, 0U);
    vmrpc_buffer nowhere = VMRPC_BUFFER(nullptr, 0);
    EXPECT_EQ(VMRPC_BUFFER_ALLOCATE(&nowhere, 16, 8), nullptr);
    EXPECT_EQ(VMRPC_LAST_STATUS(), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(VMRPC_BUFFER_RELEASE(&nowhere), VMRPC_OK);
}

TEST_F(Buffers, ContainersNeedOneInUse) {
    const auto client = connect();
    vmrpc::BufferVector<int> none;
    EXPECT_THROW(none.push_back(1), vmrpc::AllocationFailed);
    vmrpc::MonotonicBuffer outer(client.heap());
    vmrpc::MonotonicBuffer inner(client.heap());
    const vmrpc::MonotonicBuffer::Use use(outer);
    none.push_back(1);
    {
        const vmrpc::MonotonicBuffer::Use use_inner(inner);
        none.assign(100'000, 2);
    }
    EXPECT_EQ(vmrpc::MonotonicBuffer::current(), &outer);
    EXPECT_EQ(none.back(), 2);
    EXPECT_EQ(client.stats().live_blocks, 2U);
}

}  // namespace
}  // namespace conformance
