// Conformance: data in the RPC heap.
#include "conformance/fixture.hpp"

#include <cstring>
#include <numeric>
#include <vector>

namespace conformance {
namespace {

TEST_F(Calls, SpansInTheHeapAreNotCopied) {
    const auto client = connect();
    auto values = client.heap().make_array<double>(100'000).value();
    std::iota(values.begin(), values.end(), 1.0);
    EXPECT_DOUBLE_EQ(client.call<sum>(values).value(), 100'000.0 * 100'001.0 / 2);
    ASSERT_TRUE(client.call<scale>(values, 2.0));
    EXPECT_DOUBLE_EQ(values[99'999], 200'000.0);
    EXPECT_EQ(client.stats().implicit_copies, 0U);
}

TEST_F(Calls, SmallSpansOfAnUntrustedClientAreWrittenBack) {
    const auto client = connect();
    auto values = client.heap().make_array<double>(100).value();
    std::iota(values.begin(), values.end(), 1.0);
    ASSERT_TRUE(client.call<scale>(values, -1.0));
    EXPECT_DOUBLE_EQ(values[0], -1.0);
    EXPECT_DOUBLE_EQ(values[99], -100.0);
}

TEST_F(Calls, SpansOutsideOfTheHeapAreCopiedInAndBackAndCounted) {
    const auto client = connect();
    std::vector<double> values(5'000, 1.5);
    EXPECT_DOUBLE_EQ(client.call<sum>(values).value(), 7'500.0);
    ASSERT_TRUE(client.call<scale>(values, 2.0));
    EXPECT_DOUBLE_EQ(values[4'999], 3.0);
    EXPECT_EQ(client.stats().implicit_copies, 2U);
    EXPECT_EQ(client.stats().implicit_copy_bytes, 2 * 5'000 * sizeof(double));
    EXPECT_EQ(client.stats().live_blocks, 0U) << "the copies are freed";
}

TEST_F(Calls, EmptySpansAndTexts) {
    const auto client = connect();
    EXPECT_DOUBLE_EQ(client.call<sum>(std::span<const double>()).value(), 0.0);
    EXPECT_EQ(client.call<digest>("").value(), digest_of(""));
    EXPECT_EQ(client.call<digest>("shared memory").value(), digest_of("shared memory"));
}

TEST_F(Calls, AReturnedBlockBelongsToTheCaller) {
    const auto client = connect();
    {
        auto numbers = client.call<iota>(1'000).value();
        ASSERT_EQ(numbers.size(), 1'000U);
        EXPECT_EQ(numbers[999], 999);
        EXPECT_EQ(client.call<server_heap>().value().live_blocks, 1U);
    }
    EXPECT_TRUE(soon([&] { return client.call<server_heap>().value().live_blocks == 0; }))
        << "freed on the client's side";
}

TEST_F(Calls, TheServerFreesTheClientsBlock) {
    const auto client = connect();
    auto block = client.heap().make_array<std::byte>(100).value();
    EXPECT_EQ(client.stats().live_blocks, 1U);
    ASSERT_TRUE(client.call<take>(block.ptr()));
    static_cast<void>(block.release());
    EXPECT_TRUE(soon([&] { return client.call<null>() && client.stats().live_blocks == 0; }));
}

TEST_F(Calls, AllBlocksComeBackFromManyFreesOnTheOtherSide) {
    const auto client = connect();
    for (int i = 0; i < 5'000; ++i) {  // more than the queue holds
        auto block = client.heap().make_array<std::byte>(64).value();
        ASSERT_TRUE(client.call<take>(block.ptr()));
        static_cast<void>(block.release());
        ASSERT_EQ(client.call<iota>(8).value().size(), 8U);
    }
    EXPECT_TRUE(soon([&] { return client.call<server_heap>().value().live_blocks == 0; }));
    EXPECT_TRUE(soon([&] { return client.call<null>() && client.stats().live_blocks == 0; }));
}

TEST_F(Calls, PlainPointersWorkAtEqualAddresses) {
    const auto client = connect({.trust_peer = true});
    ASSERT_EQ(vmrpc_offset(client.handle(), VMRPC_DEFAULT_HEAP), 0);
    auto nodes = client.heap().make_array<Node>(100).value();
    for (std::size_t i = 0; i < nodes.size(); ++i)
        nodes[i] = {i + 1 < nodes.size() ? &nodes[i + 1] : nullptr, static_cast<std::int64_t>(i)};
    EXPECT_EQ(client.call<sum_list>(nodes.data()).value(), 4'950);
    ASSERT_TRUE(client.call<append>(nodes.data(), 50));
    ASSERT_NE(nodes[99].next, nullptr);
    EXPECT_EQ(nodes[99].next->value, 50);
    EXPECT_EQ(client.call<sum_list>(nodes.data()).value(), 5'000);
    EXPECT_TRUE(client.heap().free(nodes[99].next)) << "the server's node";
    EXPECT_TRUE(soon([&] { return client.call<server_heap>().value().live_blocks == 0; }));
}

TEST_F(Calls, PtrWorksAtUnequalAddresses) {
    const auto client = connect({.trust_peer = true, .unequal_addresses = true});
    EXPECT_NE(vmrpc_offset(client.handle(), VMRPC_DEFAULT_HEAP), 0);
    auto nodes = client.heap().make_array<FarNode>(100).value();
    for (std::size_t i = 0; i < nodes.size(); ++i)
        nodes[i] = {i + 1 < nodes.size() ? nodes.ptr(i + 1) : vmrpc::Ptr<FarNode>{}, static_cast<std::int64_t>(i)};
    EXPECT_EQ(client.call<sum_far_list>(nodes.ptr()).value(), 4'950);
    EXPECT_EQ(client.call<iota>(10).value()[9], 9);
}

TEST_F(Calls, TheOffsetTranslatesTheServersPointers) {
    const auto client = connect({.trust_peer = true, .unequal_addresses = true});
    auto nodes = client.heap().make_array<Node>(1).value();
    nodes[0] = {nullptr, 1};
    ASSERT_TRUE(client.call<append>(nodes.data(), 7));
    const auto* foreign = reinterpret_cast<const std::byte*>(nodes[0].next);
    ASSERT_NE(foreign, nullptr);
    const auto* node = reinterpret_cast<const Node*>(foreign + vmrpc_offset(client.handle(), VMRPC_DEFAULT_HEAP));
    EXPECT_EQ(node->value, 7);
}

TEST_F(Calls, APointerOutsideOfTheHeapIsRefused) {
    const auto client = connect();
    Node local{nullptr, 1};
    const auto result = client.call<sum_list>(&local);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().status, VMRPC_OUTSIDE_HEAP);
}

TEST_F(Calls, AFullHeapIsAnErrorValueOnBothSides) {
    const auto client = connect({.heap_bytes = 4 << 20});
    const auto mine = client.heap().make_array<std::byte>(100 << 20);
    ASSERT_FALSE(mine);
    EXPECT_EQ(mine.error().status, VMRPC_HEAP_FULL);
    EXPECT_EQ(mine.error().remedy(), vmrpc::Remedy::kRetryLater);
    const auto theirs = client.call<iota>(100 << 20);
    ASSERT_FALSE(theirs);
    EXPECT_EQ(theirs.error().status, VMRPC_FUNCTION_FAILED) << "the function threw the heap's text";
    EXPECT_EQ(client.call<sum>(std::vector<double>(1 << 20)).error().status, VMRPC_HEAP_FULL) << "the copy in";
    EXPECT_TRUE(client.call<null>());
}

TEST_F(Calls, WrongFreesAreErrors) {
    const auto client = connect();
    int local = 0;
    EXPECT_EQ(client.heap().free(&local).error().status, VMRPC_BAD_FREE);
    auto block = client.heap().make_array<std::byte>(100).value();
    EXPECT_EQ(client.heap().free(block.data() + 16).error().status, VMRPC_BAD_FREE);
    void* data = block.release().data;
    EXPECT_TRUE(client.heap().free(data));
    EXPECT_EQ(client.heap().free(data).error().status, VMRPC_BAD_FREE);
}

TEST_F(Calls, ADoubleFreeOfTheServersBlockEndsTheConnectionWithTheReason) {
    const auto client = connect();
    const auto witness = connect();
    void* block = client.call<iota>(10).value().release().data;
    EXPECT_TRUE(client.heap().free(block));
    ASSERT_TRUE(client.call<null>()) << "the server takes the first free";
    EXPECT_TRUE(client.heap().free(block)) << "only the owner can tell";
    vmrpc::Result<void> ended;
    EXPECT_TRUE(soon([&] { return !(ended = client.call<null>()); }));
    EXPECT_EQ(ended.error().status, VMRPC_POISONED);
    EXPECT_EQ(ended.error().remedy(), vmrpc::Remedy::kReconnect);
    EXPECT_NE(ended.error().text.find("free"), std::string::npos) << ended.error().text;
    EXPECT_TRUE(witness.call<null>()) << "others do not notice";
}

}  // namespace
}  // namespace conformance
