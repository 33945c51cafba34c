// Conformance: heaps in segments of their own, set up by either side while the connection is open; where a transport
// cannot add a segment, that it says so.
#include "conformance/fixture.hpp"
#include "conformance/heap_functions.hpp"

#include <gmock/gmock.h>

#include <atomic>
#include <memory>
#include <numeric>
#include <vector>

namespace conformance {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

class Heaps : public Calls {
  protected:
    void SetUp() override {
        const auto tried = client_->heap().set_up(kMiB);
        if (!tried && tried.error().status == VMRPC_NOT_SUPPORTED) GTEST_SKIP() << tried.error().text;
        ASSERT_TRUE(tried) << tried.error().message();
        EXPECT_TRUE(tried->destroy());
    }
    void use(const vmrpc::ConnectOptions& options) { client_.emplace(connect(options)); }
    [[nodiscard]] vmrpc::Heap set_up(std::uint64_t bytes = kMiB) const {
        auto made = client_->heap().set_up(bytes);
        if (!made) throw std::runtime_error(made.error().message());
        return *made;
    }
    /// Of the server's; it may be waiting for the client to let one go.
    [[nodiscard]] std::uint32_t server_sets_up(std::uint64_t bytes = kMiB) const {
        const std::int64_t heap = client_->call<set_up_servers_heap>(bytes).value();
        EXPECT_GT(heap, 0) << VMRPC_STATUS_NAME(static_cast<vmrpc_status>(-heap));
        return static_cast<std::uint32_t>(heap);
    }

    std::optional<vmrpc::Client> client_{connect({.trust_peer = true})};
};

/// Over every transport.
class HeapsWithin : public Calls {};

TEST_F(HeapsWithin, AreBoundedPartsOfThisSidesHalf) {
    const auto client = connect();
    const auto heap = client.heap().set_up(kMiB, {.within = true}).value();
    auto array = heap.make_array<double>(1'000).value();
    std::iota(array.begin(), array.end(), 0);
    EXPECT_EQ(client.call<sum>(array).value(), 499'500);
    EXPECT_EQ(heap.make_array<double>(1'000'000).error().status, VMRPC_HEAP_FULL);
    EXPECT_EQ(heap.destroy().error().status, VMRPC_BUSY);
    array.reset();
    EXPECT_TRUE(heap.destroy());
}

TEST_F(HeapsWithin, AnswerWhereNoSegmentCanBeAdded) {
    const auto client = connect();
    const auto made = client.heap().set_up(kMiB);
    if (made) {
        EXPECT_TRUE(made->destroy());
        GTEST_SKIP() << "this transport can";
    }
    EXPECT_EQ(made.error().status, VMRPC_NOT_SUPPORTED);
    EXPECT_THAT(made.error().text, HasSubstr("because"));
    EXPECT_THAT(made.error().text, HasSubstr("`within`"));
    EXPECT_EQ(client.call<set_up_servers_heap>(kMiB).value(), -VMRPC_NOT_SUPPORTED);
}

TEST_F(Heaps, CarrySpansPointersAndText) {
    const auto heap = set_up(64 * kMiB);
    auto array = heap.make_array<double>(1'000'000).value();
    std::iota(array.begin(), array.end(), 0);
    EXPECT_EQ(client_->call<sum>(array).value(), 499'999'500'000.0);
    ASSERT_TRUE(client_->call<scale>(array, 2));
    EXPECT_EQ(array[999'999], 1'999'998);
    const auto text = heap.copy(std::span("some text", 9)).value();
    EXPECT_EQ(client_->call<digest>(std::string_view(text.data(), 9)).value(), digest_of("some text"));
    const auto counter = heap.make<FarNode>(FarNode{{}, 42}).value();
    EXPECT_EQ(client_->call<sum_far_list>(counter.ptr()).value(), 42);
    EXPECT_EQ(client_->stats().implicit_copies, 0U);
    EXPECT_EQ(heap.stats().live_blocks, 3U);
    EXPECT_EQ(heap.stats().reserved_bytes, 64 * kMiB);
    EXPECT_EQ(client_->heap().stats().live_blocks, 0U);
}

TEST_F(Heaps, ReachTheServerOfAClientThatIsNotTrusted) {
    use({});
    const auto heap = set_up(8 * kMiB);
    for (const std::size_t count : {10U, 100'000U}) {  // snapshot, and in place
        auto array = heap.make_array<double>(count).value();
        std::fill(array.begin(), array.end(), 0.5);
        ASSERT_TRUE(client_->call<scale>(array, 4));
        EXPECT_EQ(client_->call<sum>(array).value(), 2.0 * static_cast<double>(count));
    }
    EXPECT_TRUE(heap.destroy());
}

TEST_F(Heaps, OfTheServersCarryWhatItReturns) {
    const std::uint32_t heap = server_sets_up(8 * kMiB);
    for (int i = 0; i < 3; ++i) {
        auto numbers = client_->call<iota_in_heap>(100'000, heap).value();
        EXPECT_EQ(std::accumulate(numbers.begin(), numbers.end(), std::int64_t{0}), 4'999'950'000);
        EXPECT_EQ(client_->call<destroy_servers_heap>(heap).value(), VMRPC_BUSY);
    }
    EXPECT_TRUE(soon([&] { return client_->call<blocks_in_heap>(heap).value() == 0; })) << "freed by the client";
    EXPECT_EQ(client_->call<destroy_servers_heap>(heap).value(), VMRPC_OK);
    EXPECT_EQ(client_->call<destroy_servers_heap>(heap).value(), VMRPC_BAD_ARGUMENT);
}

TEST_F(Heaps, TheServerFreesBlocksOfTheClients) {
    const auto heap = set_up();
    for (int i = 0; i < 10'000; ++i) {
        void* const block = heap.allocate(64).value();
        ASSERT_TRUE(client_->call<take>(vmrpc::Ptr<std::byte>::to(static_cast<std::byte*>(block), client_->handle())));
    }
    EXPECT_TRUE(heap.destroy()) << "which looks for what the server has freed";
}

TEST_F(Heaps, PlainPointersLeadFromHeapToHeap) {
    const auto one = set_up();
    const auto two = set_up();
    const std::uint32_t servers = server_sets_up();
    for (const vmrpc_heap heap : {one.number(), two.number(), servers}) {
        EXPECT_EQ(vmrpc_offset(client_->handle(), heap), 0);
        EXPECT_EQ(client_->call<servers_offset>(heap).value(), 0);
    }
    Node* const last = new (one.allocate(sizeof(Node)).value()) Node{nullptr, 3};
    Node* const middle = new (client_->heap().allocate(sizeof(Node)).value()) Node{last, 20};
    Node* const first = new (two.allocate(sizeof(Node)).value()) Node{middle, 100};
    EXPECT_EQ(client_->call<sum_list>(first).value(), 123);
    ASSERT_TRUE(client_->call<append_in_heap>(first, 1'000, servers));
    ASSERT_NE(last->next, nullptr);
    EXPECT_EQ(last->next->value, 1'000) << "the server's node, by its own address";
    EXPECT_EQ(client_->call<sum_list>(first).value(), 1'123);
    for (Node* node = first; node != nullptr;) {
        Node* const next = node->next;
        EXPECT_EQ(vmrpc_free(client_->handle(), node), VMRPC_OK);
        node = next;
    }
    EXPECT_TRUE(one.destroy());
    EXPECT_TRUE(two.destroy());
    EXPECT_TRUE(soon([&] { return client_->call<destroy_servers_heap>(servers).value() == VMRPC_OK; }));
}

TEST_F(Heaps, HaveDistancesOfTheirOwnAtUnequalAddresses) {
    use({.trust_peer = true, .unequal_addresses = true});
    const auto heap = set_up();
    const std::uint32_t servers = server_sets_up();
    EXPECT_NE(vmrpc_offset(client_->handle(), heap.number()), 0);
    EXPECT_EQ(client_->call<servers_offset>(heap.number()).value(), -vmrpc_offset(client_->handle(), heap.number()));
    EXPECT_EQ(client_->call<servers_offset>(servers).value(), -vmrpc_offset(client_->handle(), servers));
    Node* const last = new (heap.allocate(sizeof(Node)).value()) Node{nullptr, 1};
    Node* const first = new (heap.allocate(sizeof(Node)).value()) Node{last, 2};
    const auto head = vmrpc::Ptr<Node>::to(first, client_->handle());
    EXPECT_EQ(client_->call<sum_with_offset>(head, heap.number()).value(), 3);
    auto numbers = client_->call<iota_in_heap>(1'000, servers).value();
    EXPECT_EQ(numbers[999], 999);
    // Ptr leads from one to the other.
    auto far = client_->heap().make<FarNode>(FarNode{{}, 5}).value();
    auto near = heap.make<FarNode>(FarNode{far.ptr(), 6}).value();
    EXPECT_EQ(client_->call<sum_far_list>(near.ptr()).value(), 11);
}

TEST_F(Heaps, AreFifteenOfBothSides) {
    std::vector<vmrpc::Heap> heaps;
    const std::uint32_t servers = server_sets_up();
    for (int i = 0; i < 14; ++i) heaps.push_back(set_up());
    const auto one_more = client_->heap().set_up(kMiB);
    ASSERT_FALSE(one_more);
    EXPECT_EQ(one_more.error().status, VMRPC_OUT_OF_RESOURCES);
    EXPECT_THAT(one_more.error().text, HasSubstr("at most 15 heaps"));
    EXPECT_EQ(client_->call<set_up_servers_heap>(kMiB).value(), -VMRPC_OUT_OF_RESOURCES);
    // Each is its own.
    for (std::size_t i = 0; i < heaps.size(); ++i) {
        const auto array = heaps[i].copy(std::span<const double>(std::vector<double>(100, static_cast<double>(i))));
        EXPECT_EQ(client_->call<sum>(array.value()).value(), 100.0 * static_cast<double>(i));
    }
    for (const auto& heap : heaps) EXPECT_TRUE(heap.destroy());
    EXPECT_EQ(client_->call<destroy_servers_heap>(servers).value(), VMRPC_OK);
    EXPECT_TRUE(soon([&] {
        auto again = client_->heap().set_up(kMiB);
        return again && again->destroy();
    }));
}

TEST_F(Heaps, ComeAndGoManyTimes) {
    for (int i = 0; i < 100; ++i) {
        const auto heap = client_->heap().set_up(kMiB);
        if (!heap) {
            ASSERT_EQ(heap.error().status, VMRPC_BUSY) << heap.error().message();  // they go as the server gets to it
            ASSERT_TRUE(client_->call<null>());
            continue;
        }
        auto array = heap->make_array<double>(100).value();
        std::fill(array.begin(), array.end(), 1);
        ASSERT_EQ(client_->call<sum>(array).value(), 100) << i;
        array.reset();
        ASSERT_TRUE(heap->destroy());
        const std::int64_t servers = client_->call<set_up_servers_heap>(kMiB).value();
        if (servers <= 0) continue;
        ASSERT_EQ(client_->call<destroy_servers_heap>(static_cast<std::uint32_t>(servers)).value(), VMRPC_OK);
    }
}

TEST_F(Heaps, MayGoWhileAFunctionUsesThem) {
    const auto heap = set_up();
    auto* const word = new (client_->heap().allocate(sizeof(std::uint32_t)).value()) std::uint32_t{0};
    auto values = heap.make_array<std::int64_t>(100'000 / sizeof(std::int64_t)).value();
    std::fill(values.begin(), values.end(), 1);
    const std::span<const std::int64_t> used = values.span();
    const auto count = static_cast<std::int64_t>(used.size());
    std::thread caller([&] {
        const auto sum = client_->call<sum_when_told>(vmrpc::Ptr<std::uint32_t>::to(word, client_->handle()), used);
        // The client has freed what it had lent: the server reads it nevertheless, and does not fault.
        EXPECT_EQ(sum.value(), count);
    });
    const std::atomic_ref state(*word);
    EXPECT_TRUE(soon([&] { return state.load(std::memory_order_acquire) == 1; })) << "the function runs";
    values.reset();
    EXPECT_TRUE(heap.destroy());
    state.store(2, std::memory_order_release);  // pairs with the acquire load in heap_server.cpp
    caller.join();
    EXPECT_TRUE(client_->heap().free(word));
}

TEST_F(Heaps, BelongToOneSide) {
    const auto heap = set_up();
    const std::uint32_t servers = server_sets_up();
    EXPECT_EQ(vmrpc::Heap(client_->heap().hold(), servers).allocate(1).error().status, VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(vmrpc::Heap(client_->heap().hold(), servers).destroy().error().status, VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(client_->call<destroy_servers_heap>(heap.number()).value(), VMRPC_BAD_ARGUMENT);
    EXPECT_FALSE(client_->call<iota_in_heap>(1, heap.number()));
}

TEST_F(Heaps, RefuseWhatCannotBe) {
    EXPECT_EQ(client_->heap().set_up(0).error().status, VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(client_->heap().set_up(UINT64_MAX).error().status, VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(client_->heap().set_up((std::uint64_t{64} << 30) + 1).error().status, VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(client_->heap().set_up(std::uint64_t{10} << 30).error().status, VMRPC_OUT_OF_RESOURCES)
        << "more than the server lets its clients have";
    const auto heap = set_up();
    EXPECT_EQ(heap.allocate(2 * kMiB).error().status, VMRPC_HEAP_FULL);
    int outside = 0;
    EXPECT_EQ(heap.free(&outside).error().status, VMRPC_BAD_FREE);
    auto* const block = static_cast<std::byte*>(heap.allocate(100).value());
    EXPECT_GE(heap.usable_bytes(block), 100U);
    EXPECT_EQ(heap.free(block + 16).error().status, VMRPC_BAD_FREE);
    EXPECT_TRUE(heap.free(block));
    EXPECT_EQ(heap.free(block).error().status, VMRPC_BAD_FREE);
    EXPECT_EQ(heap.usable_bytes(block), 0U);
    EXPECT_TRUE(heap.destroy());
    EXPECT_EQ(heap.allocate(1).error().status, VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(heap.free(block).error().status, VMRPC_BAD_FREE) << "it is nowhere now";
    EXPECT_EQ(vmrpc_offset(client_->handle(), heap.number()), 0);
    EXPECT_EQ(VMRPC_LAST_STATUS(), VMRPC_BAD_ARGUMENT);
}

TEST_F(Heaps, OfTwoConnectionsAreTwo) {
    const auto other = connect({.trust_peer = true});
    const auto heap = set_up();
    const auto others = other.heap().set_up(kMiB).value();
    auto array = heap.make_array<double>(10).value();
    std::fill(array.begin(), array.end(), 1);
    EXPECT_EQ(other.call<sum>(array).value(), 10);
    EXPECT_EQ(other.stats().implicit_copies, 1U) << "it is not of this connection's";
    EXPECT_EQ(others.free(array.data()).error().status, VMRPC_BAD_FREE);
}

TEST_F(Heaps, MayBeSetUpAsAConnectionOpens) {
    std::atomic<std::uint32_t> number{0};
    ServerThread server({.on_open = [&number](const vmrpc::Caller& caller) {
        if (const auto made = caller.heap().set_up(kMiB)) number = made->number();
    }});
    const auto client = vmrpc::Client::connect(server.address()).value();
    ASSERT_TRUE(client.call<null>());
    ASSERT_NE(number, 0U);
    const auto numbers = client.call<iota_in_heap>(1'000, number).value();
    EXPECT_EQ(numbers[999], 999);
    EXPECT_EQ(client.call<destroy_servers_heap>(number).value(), VMRPC_BUSY);
}

TEST_F(Heaps, OfAClientAreBoundedByTheServer) {
    ServerThread server({.further_heap_bytes = 2 * kMiB});
    const auto client = vmrpc::Client::connect(server.address()).value();
    const auto most = client.heap().set_up(2 * kMiB).value();
    const auto more = client.heap().set_up(1);
    ASSERT_FALSE(more);
    EXPECT_EQ(more.error().status, VMRPC_OUT_OF_RESOURCES);
    EXPECT_THAT(more.error().text, HasSubstr("raise the server's further_heap_bytes"));
    EXPECT_GT(client.call<set_up_servers_heap>(4 * kMiB).value(), 0) << "its own do not count";
    EXPECT_TRUE(most.destroy());
    EXPECT_TRUE(soon([&] { return client.call<null>() && client.heap().set_up(kMiB).has_value(); }));
}

TEST_F(Heaps, GiveMemoryBack) {
    const auto heap = set_up(64 * kMiB);
    void* const block = heap.allocate(32 * kMiB).value();
    std::memset(block, 1, 32 * kMiB);
    EXPECT_GE(heap.stats().committed_bytes, 32 * kMiB);
    EXPECT_TRUE(heap.free(block));
    EXPECT_TRUE(heap.trim());
    EXPECT_EQ(heap.stats().committed_bytes, 0U);
    const auto paid_ahead = client_->heap().set_up(4 * kMiB, {.prefault = true}).value();
    EXPECT_EQ(paid_ahead.stats().committed_bytes, 4 * kMiB);
}

TEST_F(Heaps, AreUsedByManyThreads) {
    const auto heap = set_up(64 * kMiB);
    const std::uint32_t servers = server_sets_up(64 * kMiB);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < 300; ++i) {
                auto array = heap.make_array<double>(static_cast<std::size_t>(10 + i)).value();
                std::fill(array.begin(), array.end(), t);
                EXPECT_EQ(client_->call<sum>(array).value(), t * (10.0 + i));
                auto numbers = client_->call<iota_in_heap>(i + 1, servers).value();
                EXPECT_EQ(numbers[static_cast<std::size_t>(i)], i);
                if (i % 50 != 0) continue;
                if (const auto own = client_->heap().set_up(kMiB)) {
                    EXPECT_TRUE(own->destroy());
                }
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE(heap.destroy());
    EXPECT_TRUE(soon([&] { return client_->call<destroy_servers_heap>(servers).value() == VMRPC_OK; }));
}

}  // namespace
}  // namespace conformance
