#include "conformance/c_structures/far.h"
#include "conformance/c_structures/in_heap.h"
#include "conformance/server.hpp"
#include "conformance/structure_functions.hpp"

#include <stdexcept>
#include <string>

namespace conformance {
namespace {

void expect(bool holds) {
    if (!holds) throw std::runtime_error("the structures are not as they were built, or there is no memory");
}

std::int64_t serve_list(list* changed) {
    const std::int64_t sum = list_sum(changed);
    list_scale(changed, 10);
    expect(list_add(changed, 1000) == 0 && list_add(changed, 2000) == 0);
    return sum;
}

std::int64_t serve_tree(tree* changed) {
    const std::int64_t sum = tree_sum(changed);
    expect(tree_remove(changed, 3) == 1);
    for (std::int64_t key = 1000; key < 1100; ++key) expect(tree_put(changed, key, 1) == 0);
    return sum;
}

std::int64_t serve_hash(hash* changed) {
    const std::int64_t sum = hash_sum(changed);
    expect(hash_remove(changed, "key 3") == 1);
    for (int i = 0; i < 100; ++i) expect(hash_put(changed, ("new " + std::to_string(i)).c_str(), 1) == 0);
    return sum;
}

far_side this_side() {
    vmrpc_connection* connection = VMRPC_CALLER()->connection;
    return {connection, vmrpc_offset(connection, VMRPC_DEFAULT_HEAP)};
}

std::int64_t serve_far_list(list* changed) {
    const far_side side = this_side();
    const std::int64_t sum = far_list_sum(&side, changed);
    far_list_scale(&side, changed, 10);
    expect(far_list_add(&side, changed, 1000) == 0 && far_list_add(&side, changed, 2000) == 0);
    return sum;
}

std::int64_t serve_far_tree(tree* changed) {
    const far_side side = this_side();
    const std::int64_t sum = far_tree_sum(&side, changed);
    for (std::int64_t key = 1000; key < 1100; ++key) expect(far_tree_put(&side, changed, key, 1) == 0);
    return sum;
}

std::int64_t serve_far_hash(hash* changed) {
    const far_side side = this_side();
    const std::int64_t sum = far_hash_sum(&side, changed);
    for (int i = 0; i < 100; ++i) expect(far_hash_put(&side, changed, ("new " + std::to_string(i)).c_str(), 1) == 0);
    return sum;
}

std::array<std::int64_t, 3> serve_far_structures(vmrpc::Ptr<FarStructures> changed) {
    const FarSide side;
    FarStructures& in = *changed;
    const auto sums = far_sums(side, in);
    far_scale(side, in.list, 10);
    far_put(side, in, 1000);
    return sums;
}

}  // namespace

void add_structures(vmrpc::Server& server) {
    server.add<change_list>(serve_list);
    server.add<change_tree>(serve_tree);
    server.add<change_hash>(serve_hash);
    server.add<change_far_list>(serve_far_list);
    server.add<change_far_tree>(serve_far_tree);
    server.add<change_far_hash>(serve_far_hash);
    server.add<change_far_structures>(serve_far_structures);
    server.add<failed_frees>(structures_failed_frees);
}

}  // namespace conformance
