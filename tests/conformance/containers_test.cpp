// Conformance: containers in the heap, at equal and at unequal addresses.
#include "conformance/container_functions.hpp"
#include "conformance/fixture.hpp"

#include <vmrpc/view.hpp>

#include <gmock/gmock.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace conformance {
namespace {

struct Setting {
    const char* name;
    bool trust;
    bool unequal_addresses;
};

class ContainersIn : public Calls, public testing::WithParamInterface<Setting> {
  protected:
    ContainersIn()
        : client_(connect({.trust_peer = GetParam().trust, .unequal_addresses = GetParam().unequal_addresses})) {
        EXPECT_EQ(vmrpc_offset(client_.handle(), VMRPC_DEFAULT_HEAP) != 0, GetParam().unequal_addresses);
    }
    void expect_nothing_left() {
        EXPECT_TRUE(soon([&] { return client_.call<null>() && client_.stats().live_blocks == 0; }));
        EXPECT_TRUE(soon([&] { return client_.call<server_heap>().value().live_blocks == 0; }));
    }
    [[nodiscard]] vmrpc::Owned<Words> words(int count) const {
        auto made = client_.heap().make<Words>().value();
        for (int i = 0; i < count; ++i)
            made->emplace_back(i % 2 == 0 ? "even" : "odd, and too long for a short string");
        return made;
    }
    vmrpc::Client client_;
};

/// The server uses what the client built with the containers' own functions.
using TrustedContainers = ContainersIn;
INSTANTIATE_TEST_SUITE_P(Addresses, TrustedContainers,
                         testing::Values(Setting{"Equal", true, false}, Setting{"Unequal", true, true}),
                         [](const auto& instance) { return instance.param.name; });

TEST_P(TrustedContainers, AVectorGrowsOnBothSides) {
    {
        const auto numbers = client_.heap().make<Numbers>(100U, 2).value();
        EXPECT_EQ(client_.call<grow_numbers>(numbers.ptr()).value(), 200);
        ASSERT_EQ(numbers->size(), 1'100U);
        EXPECT_EQ(numbers->back(), 1);
        numbers->insert(numbers->begin(), 5'000, 3);
        EXPECT_EQ(client_.call<grow_numbers>(numbers.ptr()).value(), 15'000 + 1'200);
        EXPECT_EQ(numbers->size(), 7'100U);
    }
    expect_nothing_left();
}

TEST_P(TrustedContainers, AStringGrowsOnTheOtherSide) {
    {
        const auto text = client_.heap().make<vmrpc::String>("client ").value();
        ASSERT_TRUE(client_.call<grow_text>(text.ptr()));
        EXPECT_EQ(text->size(), 7U + 700U);
        EXPECT_EQ(text->find("client server "), 0U) << text->c_str();
    }
    expect_nothing_left();
}

TEST_P(TrustedContainers, NestedOnesKnowTheirHeap) {
    {
        const auto built = words(50);
        ASSERT_TRUE(client_.call<grow_words>(built.ptr()));
        ASSERT_EQ(built->size(), 51U);
        EXPECT_EQ((*built)[0], "evenserver");
        EXPECT_EQ((*built)[1], "odd, and too long for a short stringserver");
        EXPECT_EQ(built->back(), "server");
    }
    expect_nothing_left();
}

TEST_P(TrustedContainers, AMapIsExtendedAndErasedFrom) {
    {
        const auto built = words(100);
        const auto groups = client_.heap().make<Groups>().value();
        (*groups)["erase me"].assign(1'000, 1);
        (*groups)["even"].push_back(-1);
        ASSERT_TRUE(client_.call<group>(built.ptr(), groups.ptr()));
        ASSERT_EQ(groups->size(), 2U);
        EXPECT_EQ(groups->find("erase me"), groups->end());
        EXPECT_EQ(groups->find("even")->second.size(), 51U);
        EXPECT_EQ(groups->rbegin()->second.front(), 1);
        groups->erase(groups->begin());
    }
    expect_nothing_left();
}

TEST_P(TrustedContainers, AnUnorderedMapIsFoundInOnBothSides) {
    {
        const auto built = words(100);
        const auto counts = client_.heap().make<Counts>().value();
        (*counts)["even"] = 1;
        for (int i = 0; i < 200; ++i) counts->emplace(std::to_string(i).c_str(), i);
        ASSERT_TRUE(client_.call<count>(built.ptr(), counts.ptr()));
        ASSERT_EQ(counts->size(), 202U);
        EXPECT_EQ(counts->find(std::string_view("even"))->second, 51) << "both sides hash alike";
        EXPECT_EQ(counts->find(std::string_view("odd, and too long for a short string"))->second, 50);
        for (int i = 0; i < 200; ++i) EXPECT_EQ(counts->erase(vmrpc::String(std::to_string(i).c_str())), 1U);
    }
    expect_nothing_left();
}

TEST_P(TrustedContainers, TheServerTakesOneOver) {
    auto groups = client_.heap().make<Groups>().value();
    for (int i = 0; i < 100; ++i) (*groups)[vmrpc::String(std::to_string(i).c_str())].assign(10, i);
    ASSERT_TRUE(client_.call<take_groups>(groups.ptr()));
    static_cast<void>(groups.release());
    expect_nothing_left();
}

TEST_P(TrustedContainers, InAMonotonicBuffer) {
    {
        vmrpc::MonotonicBuffer buffer(client_.heap(), 1'024);
        const vmrpc::MonotonicBuffer::Use use(buffer);
        using Map = vmrpc::BufferMap<vmrpc::BufferString, vmrpc::BufferVector<std::int64_t>>;
        auto* const groups = new (buffer.allocate(sizeof(Map), alignof(Map))) Map;
        for (int i = 0; i < 1'000; ++i) (*groups)[vmrpc::BufferString(std::to_string(i % 50).c_str())].push_back(i);
        EXPECT_EQ(client_.call<sum_buffered>(vmrpc::Ptr<Map>::to(groups, client_.handle())).value(), 499'500 + 90);
        EXPECT_GT(client_.stats().live_blocks, 1U);
    }
    EXPECT_EQ(client_.stats().live_blocks, 0U) << "freed at once";
}

/// What needs no trust of the server's.
using Containers = ContainersIn;
INSTANTIATE_TEST_SUITE_P(Addresses, Containers,
                         testing::Values(Setting{"Equal", false, false}, Setting{"Unequal", false, true}),
                         [](const auto& instance) { return instance.param.name; });

TEST_P(Containers, AReturnedOneBelongsToTheCaller) {
    {
        const auto numbers = client_.call<make_numbers>(1'000).value();
        ASSERT_EQ(numbers->size(), 1'000U);
        EXPECT_EQ(numbers->back(), 999);
        numbers->push_back(7);  // by the client, in its own half
        EXPECT_EQ(numbers->back(), 7);
        EXPECT_EQ(client_.call<make_text>(10'000).value()->size(), 10'000U);
        const auto groups = client_.call<make_groups>(100).value();
        ASSERT_EQ(groups->size(), 100U);
        const auto group = groups->find(std::string_view("a group whose name is long, number 42"));
        ASSERT_NE(group, groups->end());
        EXPECT_THAT(group->second, testing::ElementsAre(42, 42, 42));
        const auto counts = client_.call<make_counts>(100).value();
        EXPECT_EQ(counts->at("99"), 99);
        EXPECT_EQ(vmrpc::copy_out(groups.get())->size(), 100U) << "in a client too";
    }
    EXPECT_EQ(client_.stats().implicit_copies, 0U);
    expect_nothing_left();
}

TEST_P(Containers, AViewOfAVectorIsACopyUpToTheLimitOfSnapshots) {
    const auto numbers = client_.heap().make<Numbers>(2'048U, 1).value();
    Looked looked = client_.call<view_numbers>(numbers.ptr()).value();
    EXPECT_EQ(looked.sum, 2'048);
    EXPECT_EQ(looked.in_place, 0);
    numbers->push_back(1);
    looked = client_.call<view_numbers>(numbers.ptr()).value();
    EXPECT_EQ(looked.sum, 2'049);
    EXPECT_EQ(looked.in_place, 1);
    numbers->clear();
    EXPECT_EQ(client_.call<view_numbers>(numbers.ptr()).value().sum, 0);
}

TEST_P(Containers, AViewOfAString) {
    const auto text = client_.heap().make<vmrpc::String>("short").value();
    EXPECT_EQ(client_.call<view_text>(text.ptr()).value().sum, 5);
    text->assign(1'000, 'x');
    EXPECT_EQ(client_.call<view_text>(text.ptr()).value().sum, 1'000);
    EXPECT_EQ(client_.call<view_text>(text.ptr()).value().in_place, 0);
    text->assign(100'000, 'x');
    EXPECT_EQ(client_.call<view_text>(text.ptr()).value().sum, 100'000);
    EXPECT_EQ(client_.call<view_text>(text.ptr()).value().in_place, 1);
}

TEST_P(Containers, NodeContainersAreReadStepByStep) {
    const auto groups = client_.heap().make<Groups>().value();
    EXPECT_EQ(client_.call<copy_groups>(groups.ptr()).value().sum, 0) << "an empty one";
    for (int i = 0; i < 100; ++i) (*groups)[vmrpc::String(std::to_string(i).c_str())].assign(3, i);
    EXPECT_EQ(client_.call<copy_groups>(groups.ptr()).value().sum, 14'850 + 190);
    EXPECT_EQ(client_.call<visit_groups>(groups.ptr()).value().sum, 14'850 + 190);
    const auto counts = client_.heap().make<Counts>().value();
    EXPECT_EQ(client_.call<visit_counts>(counts.ptr()).value().sum, 0) << "an empty one";
    for (int i = 0; i < 100; ++i) (*counts)[vmrpc::String(std::to_string(i).c_str())] = i;
    EXPECT_EQ(client_.call<visit_counts>(counts.ptr()).value().sum, 4'950 + 190);
    EXPECT_EQ(client_.call<copy_words>(words(10).ptr()).value().sum, 5 * (4 + 36));
}

TEST_P(Containers, OnAStackANeedForMemoryNeedsAHeap) {
    const std::string_view text = "a text that is too long for a short string";
    EXPECT_THROW(vmrpc::String{text.data()}, vmrpc::AllocationFailed);
    {
        const vmrpc::String given(text.data(), vmrpc::Allocator<char>(client_.heap()));
        EXPECT_EQ(client_.stats().live_blocks, 1U);
        const auto counts = client_.heap().make<Counts>().value();
        (*counts)[given] = 7;
        EXPECT_EQ(counts->find(text)->second, 7);
        const vmrpc::String copy(given);
        EXPECT_EQ(copy, given) << "a copy knows the heap too";
        const vmrpc::UseHeap use(client_.heap());
        EXPECT_EQ((*counts)[text.data()], 7) << "what [] makes of its key takes memory too";
    }
    EXPECT_EQ(client_.stats().live_blocks, 0U);
}

TEST_P(Containers, AFullHeapIsAnErrorValue) {
    const auto small = connect({.heap_bytes = 4 << 20});
    const auto made = small.heap().make<Numbers>(std::size_t{10} << 20);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().status, VMRPC_HEAP_FULL);
    EXPECT_EQ(small.stats().live_blocks, 0U);
    const auto theirs = small.call<make_numbers>(10 << 20);
    ASSERT_FALSE(theirs);
    EXPECT_EQ(theirs.error().status, VMRPC_FUNCTION_FAILED);
    EXPECT_NE(theirs.error().text.find("VMRPC_HEAP_FULL"), std::string::npos) << theirs.error().text;
    EXPECT_TRUE(soon([&] { return small.call<server_heap>().value().live_blocks == 0; })) << "what was built is freed";
}

}  // namespace
}  // namespace conformance
