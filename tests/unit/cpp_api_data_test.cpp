// The C++ API: spans, pointers, arrays; what is copied and what is not, and that nothing is lost.
#include "cpp_api_server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

namespace cpp_api {
namespace {

TEST(CppApiSpan, InTheHeapIsNotCopied) {
    const Server server;
    const auto client = server.connect();
    const auto values = client.heap().make_array<double>(1000).value();
    std::iota(values.begin(), values.end(), 0.0);
    EXPECT_EQ(client.call<mean>(values).value(), 499.5);
    EXPECT_EQ(client.call<mean>(values.span().subspan(10, 3)).value(), 11);
    EXPECT_EQ(client.stats().implicit_copies, 0U);
}

TEST(CppApiSpan, OutsideIsCopiedInAndCounted) {
    const Server server;
    const auto client = server.connect();
    const std::vector<double> values{1, 2, 6};
    EXPECT_EQ(client.call<mean>(values).value(), 3);
    const auto stats = client.stats();
    EXPECT_EQ(stats.implicit_copies, 1U);
    EXPECT_EQ(stats.implicit_copy_bytes, 3 * sizeof(double));
    EXPECT_EQ(stats.live_blocks, 0U) << "the copy is gone";
}

TEST(CppApiSpan, MutableIsCopiedBack) {
    const Server server;
    const auto client = server.connect();
    std::vector<std::int32_t> outside(10'000, 1);
    ASSERT_TRUE(client.call<increment>(outside));
    EXPECT_EQ(outside, std::vector<std::int32_t>(10'000, 2));
    auto inside = client.heap().copy(std::span(outside)).value();
    ASSERT_TRUE(client.call<increment>(inside));
    EXPECT_EQ(inside[9'999], 3);
    EXPECT_EQ(client.stats().implicit_copies, 1U);
}

TEST(CppApiSpan, MayBeEmpty) {
    const Server server;
    const auto client = server.connect();
    EXPECT_TRUE(client.call<increment>(std::span<std::int32_t>{}));
    EXPECT_EQ(client.call<length>("").value(), 0U);
    EXPECT_EQ(client.stats().implicit_copies, 0U);
}

TEST(CppApiText, TakesWhateverConverts) {
    const Server server;
    const auto client = server.connect();
    EXPECT_EQ(client.call<length>("four").value(), 4U);
    EXPECT_EQ(client.call<length>(std::string(100'000, 'x')).value(), 100'000U);
}

TEST(CppApiPtr, LeadsThroughDataInTheHeap) {
    const Server server;
    const auto client = server.connect();
    const auto nodes = client.heap().make_array<Node>(3).value();
    nodes[0] = {1, nodes.ptr(1)};
    nodes[1] = {10, nodes.ptr(2)};
    nodes[2] = {100, {}};
    EXPECT_EQ(client.call<sum_list>(nodes.ptr()).value(), 111);
}

TEST(CppApiPtr, LeadsThroughDataAtUnequalAddresses) {
    const Server server;
    const auto client = server.connect({.unequal_addresses = true});
    const auto nodes = client.heap().make_array<Node>(2).value();
    nodes[0] = {1, nodes.ptr(1)};
    nodes[1] = {10, {}};
    EXPECT_EQ(client.call<sum_list>(nodes.ptr()).value(), 11);
}

TEST(CppApiPtr, InDataThatPointsOutsideIsNull) {
    const Server server;
    const auto client = server.connect();
    const auto nodes = client.heap().make_array<Node>(1).value();
    for (const std::uint64_t wild : {std::uint64_t{1}, std::uint64_t{64}, ~std::uint64_t{0}, std::uint64_t{1} << 47}) {
        nodes[0].value = 5;
        std::memcpy(static_cast<void*>(&nodes[0].next), &wild, sizeof wild);
        EXPECT_EQ(client.call<sum_list>(nodes.ptr()).value(), 5) << wild;
    }
}

TEST(CppApiPtr, MayBeNullAndMayReturn) {
    const Server server;
    const auto client = server.connect();
    EXPECT_TRUE(client.call<is_null>(vmrpc::Ptr<Node>{}).value());
    const auto node = client.heap().make<Node>(Node{7, {}}).value();
    EXPECT_FALSE(client.call<is_null>(node.ptr()).value());
    EXPECT_EQ(client.get(client.call<same>(node.ptr()).value()), node.get());
}

TEST(CppApiPtr, ToWhatDoesNotLieInTheHeapIsNull) {
    const Server server;
    const auto client = server.connect();
    Node outside;
    EXPECT_FALSE(vmrpc::Ptr<Node>::to(&outside, client.handle()));
}

TEST(CppApiPointer, ReachesTheObjectInTheHeap) {
    const Server server;
    const auto client = server.connect();
    const auto pair = client.heap().make<Pair>(Pair{41, 0}).value();
    EXPECT_EQ(client.call<bump>(pair.get()).value(), 42);
    EXPECT_EQ(pair->left, 42);
    EXPECT_EQ(client.call<bump>(nullptr).value(), -1);
}

TEST(CppApiPointer, OutsideOfTheHeapIsRefused) {
    const Server server;
    const auto client = server.connect();
    Pair outside;
    EXPECT_EQ(client.call<bump>(&outside).error().status, VMRPC_OUTSIDE_HEAP);
}

TEST(CppApiArray, IsReturnedAndFreed) {
    const Server server;
    const auto client = server.connect();
    {
        const auto made = client.call<squares>(1000U).value();
        ASSERT_EQ(made.size(), 1000U);
        EXPECT_EQ(made[999], 998'001U);
    }
    EXPECT_TRUE(client.call<squares>(0U).value().empty());
}

// A thousand results of 1 MiB through a heap of 4 MiB: each is freed, or soon there is no room.
TEST(CppApiArray, IsFreedOnTheSideThatDidNotMakeIt) {
    const Server server;
    const auto client = server.connect({.heap_bytes = std::uint64_t{8} << 20});
    for (int i = 0; i < 1000; ++i) {
        const auto made = client.call<squares>(256U * 1024U);
        ASSERT_TRUE(made) << i << ": " << made.error().message();
        ASSERT_EQ((*made)[3], 9U);
    }
}

TEST(CppApiArray, MovesWithItsOwnership) {
    const Server server;
    const auto client = server.connect();
    auto first = client.heap().make_array<int>(10).value();
    int* const data = first.data();
    auto second = std::move(first);
    EXPECT_TRUE(first.empty());  // NOLINT(bugprone-use-after-move): what it is about
    EXPECT_EQ(second.data(), data);
    second = client.heap().make_array<int>(20).value();
    EXPECT_EQ(client.stats().live_blocks, 1U) << "the first block is freed";
    second.reset();
    EXPECT_EQ(client.stats().live_blocks, 0U);
}

TEST(CppApiArray, GivesItsBlockUp) {
    const Server server;
    const auto client = server.connect();
    auto array = client.heap().make_array<int>(10).value();
    const vmrpc_block block = array.release();
    EXPECT_EQ(block.count, 10U);
    EXPECT_EQ(array.data(), nullptr);
    EXPECT_EQ(client.stats().live_blocks, 1U);
    EXPECT_TRUE(client.heap().free(block.data));
    EXPECT_EQ(client.heap().free(block.data).error().status, VMRPC_BAD_FREE);
}

TEST(CppApiArray, OutlivesItsClient) {
    const Server server;
    std::optional<vmrpc::Client> client = server.connect();
    auto array = client->heap().make_array<int>(1000).value();
    client.reset();
    std::iota(array.begin(), array.end(), 0);
    EXPECT_EQ(array[999], 999);
}

TEST(CppApiHeap, RefusesSizesThatCannotBe) {
    const Server server;
    const auto client = server.connect();
    EXPECT_EQ(client.heap().make_array<double>(std::size_t{1} << 40).error().status, VMRPC_HEAP_FULL);
    EXPECT_FALSE(client.heap().make_array<double>(SIZE_MAX / 8 + 2)) << "whose bytes wrap to 16";
    EXPECT_FALSE(client.heap().make_array<double>(SIZE_MAX));
}

TEST(CppApiHeap, AllocatesAligned) {
    const Server server;
    const auto client = server.connect();
    void* const block = client.heap().allocate(10, 4096).value();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % 4096, 0U);
    EXPECT_TRUE(client.heap().free(block));
}

}  // namespace
}  // namespace cpp_api
