// Conformance: structures full of pointers, built by the client, walked, changed and extended by the server, freed by
// the client.
#include "conformance/c_structures/far.h"
#include "conformance/c_structures/in_heap.h"
#include "conformance/fixture.hpp"
#include "conformance/structure_functions.hpp"

#include <algorithm>
#include <string>

namespace conformance {
namespace {

std::string key(int number) {
    return "key " + std::to_string(number);
}

class Structures : public Calls {
  protected:
    explicit Structures(bool unequal_addresses = false)
        : client_(connect({.trust_peer = true, .unequal_addresses = unequal_addresses})) {
        structures_use(client_.handle());
        static_cast<void>(client_.call<null>());
        server_blocks_ = client_.call<server_heap>().value().live_blocks;
    }
    ~Structures() override { structures_use(nullptr); }

    void expect_nothing_left() {
        EXPECT_TRUE(soon([&] { return client_.call<null>() && client_.stats().live_blocks == 0; }));
        EXPECT_TRUE(soon([&] { return client_.call<server_heap>().value().live_blocks == server_blocks_; }));
        EXPECT_EQ(structures_failed_frees(), 0);
        EXPECT_EQ(client_.call<failed_frees>().value(), 0);
    }

    vmrpc::Client client_;
    std::uint64_t server_blocks_ = 0;
};

/// Unmodified C, at equal addresses.
using PlainStructures = Structures;

TEST_F(PlainStructures, List) {
    ASSERT_EQ(vmrpc_offset(client_.handle(), VMRPC_DEFAULT_HEAP), 0);
    list* built = list_new();
    for (int i = 0; i < 500; ++i) ASSERT_EQ(list_add(built, i), 0);
    EXPECT_EQ(client_.call<change_list>(built).value(), 124'750);
    EXPECT_EQ(built->count, 502U);
    EXPECT_EQ(built->first->next->value, 10);
    EXPECT_EQ(built->last->value, 2'000) << "the server's node";
    EXPECT_EQ(list_sum(built), 1'247'500 + 3'000);
    ASSERT_EQ(list_add(built, 1), 0) << "behind the server's node";
    EXPECT_EQ(client_.call<change_list>(built).value(), 1'250'501);
    list_free(built);
    expect_nothing_left();
}

TEST_F(PlainStructures, Tree) {
    tree* built = tree_new();
    for (int i = 0; i < 500; ++i) ASSERT_EQ(tree_put(built, i * 7'919 % 500, 2), 0);
    EXPECT_EQ(client_.call<change_tree>(built).value(), 1'000);
    EXPECT_EQ(built->count, 599U);
    EXPECT_EQ(tree_get(built, 3), nullptr) << "the server removed and freed it";
    ASSERT_NE(tree_get(built, 1'099), nullptr);
    EXPECT_EQ(*tree_get(built, 1'099), 1);
    EXPECT_EQ(tree_sum(built), 1'098);
    tree_free(built);
    expect_nothing_left();
}

TEST_F(PlainStructures, HashTable) {
    hash* built = hash_new();
    for (int i = 0; i < 100; ++i) ASSERT_EQ(hash_put(built, key(i).c_str(), i), 0);
    EXPECT_EQ(client_.call<change_hash>(built).value(), 4'950);
    EXPECT_EQ(built->count, 199U);
    EXPECT_EQ(hash_get(built, "key 3"), nullptr);
    ASSERT_NE(hash_get(built, "new 99"), nullptr);
    EXPECT_EQ(hash_sum(built), 4'950 - 3 + 100);
    hash_free(built);
    expect_nothing_left();
}

class FarStructuresTest : public Structures {
  protected:
    FarStructuresTest() : Structures(true) {}
    const far_side side_{client_.handle(), 0};
};

TEST_F(FarStructuresTest, ListWithTheOffset) {
    ASSERT_NE(vmrpc_offset(client_.handle(), VMRPC_DEFAULT_HEAP), 0);
    auto* built = static_cast<list*>(far_new(&side_, sizeof(list)));
    for (int i = 0; i < 500; ++i) ASSERT_EQ(far_list_add(&side_, built, i), 0);
    EXPECT_EQ(client_.call<change_far_list>(built).value(), 124'750);
    EXPECT_EQ(built->count, 502U);
    EXPECT_EQ(built->last->value, 2'000) << "the server stored the client's address of its node";
    EXPECT_EQ(list_sum(built), 1'247'500 + 3'000) << "plain C follows it";
    far_list_free(&side_, built);
    expect_nothing_left();
}

TEST_F(FarStructuresTest, TreeWithTheOffset) {
    auto* built = static_cast<tree*>(far_new(&side_, sizeof(tree)));
    for (int i = 0; i < 500; ++i) ASSERT_EQ(far_tree_put(&side_, built, i * 7'919 % 500, 2), 0);
    EXPECT_EQ(client_.call<change_far_tree>(built).value(), 1'000);
    EXPECT_EQ(built->count, 600U);
    EXPECT_EQ(tree_sum(built), 1'100);
    far_tree_free(&side_, built);
    expect_nothing_left();
}

TEST_F(FarStructuresTest, HashTableWithTheOffset) {
    auto* built = static_cast<hash*>(far_new(&side_, sizeof(hash)));
    for (int i = 0; i < 100; ++i) ASSERT_EQ(far_hash_put(&side_, built, key(i).c_str(), i), 0);
    EXPECT_EQ(client_.call<change_far_hash>(built).value(), 4'950);
    EXPECT_EQ(built->count, 200U);
    EXPECT_EQ(far_hash_sum(&side_, built), 5'050);
    far_hash_free(&side_, built);
    expect_nothing_left();
}

void build_and_change(const vmrpc::Client& client) {
    const FarSide side(client.handle());
    const auto built = client.heap().make<FarStructures>().value();
    for (int i = 0; i < 300; ++i) far_put(side, *built, i);
    EXPECT_EQ(client.call<change_far_structures>(built.ptr()).value(),
              (std::array<std::int64_t, 3>{44'850, 44'850, 44'850}));
    EXPECT_EQ(far_sums(side, *built), (std::array<std::int64_t, 3>{449'500, 45'850, 45'850}));
    far_free(side, *built);
}

TEST_F(FarStructuresTest, WithPtr) {
    build_and_change(client_);
    expect_nothing_left();
}

TEST_F(PlainStructures, WithPtr) {
    build_and_change(client_);
    expect_nothing_left();
}

}  // namespace
}  // namespace conformance
