// The three structures in C++, held together by Ptr: they work wherever each side has the memory.
#pragma once

#include <vmrpc/vmrpc.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>

namespace conformance {

/// What one side does with them: its connection, nullptr in a server function.
class FarSide {
  public:
    explicit FarSide(vmrpc_connection* connection = nullptr) : connection_(connection) {}
    template <class T>
    [[nodiscard]] T* at(vmrpc::Ptr<T> pointer) const {
        return pointer.get_from(connection_);
    }
    template <class T>
    [[nodiscard]] vmrpc::Ptr<T> make(const T& value) const {
        void* block = vmrpc_malloc(connection_, sizeof(T), nullptr);
        if (block == nullptr) throw std::runtime_error(VMRPC_LAST_ERROR_TEXT());
        return vmrpc::Ptr<T>::to(new (block) T(value), connection_);
    }
    template <class T>
    void free(vmrpc::Ptr<T> pointer) const {
        if (vmrpc_free(connection_, at(pointer)) != VMRPC_OK) throw std::runtime_error(VMRPC_LAST_ERROR_TEXT());
    }

  private:
    vmrpc_connection* connection_;
};

struct FarListNode {
    vmrpc::Ptr<FarListNode> next;
    std::int64_t value = 0;
};
struct FarTreeNode {
    vmrpc::Ptr<FarTreeNode> left;
    vmrpc::Ptr<FarTreeNode> right;
    std::int64_t key = 0;
    std::int64_t value = 0;
};
/// All three, each in its own way a map from or a sequence of numbers.
struct FarStructures {
    vmrpc::Ptr<FarListNode> list;
    vmrpc::Ptr<FarTreeNode> tree;
    std::array<vmrpc::Ptr<FarListNode>, 16> buckets;
};

inline void far_put_in_tree(const FarSide& side, FarStructures& in, std::int64_t key, std::int64_t value) {
    vmrpc::Ptr<FarTreeNode>* place = &in.tree;
    while (FarTreeNode* node = side.at(*place)) {
        if (node->key == key) {
            node->value = value;
            return;
        }
        place = key < node->key ? &node->left : &node->right;
    }
    *place = side.make(FarTreeNode{{}, {}, key, value});
}

inline void far_put(const FarSide& side, FarStructures& in, std::int64_t value) {
    in.list = side.make(FarListNode{in.list, value});
    far_put_in_tree(side, in, value * 7919 % 1009, value);
    auto& bucket = in.buckets[static_cast<std::size_t>(value) % in.buckets.size()];
    bucket = side.make(FarListNode{bucket, value});
}

inline std::int64_t far_sum_list(const FarSide& side, vmrpc::Ptr<FarListNode> first) {
    std::int64_t sum = 0;
    for (const FarListNode* node = side.at(first); node != nullptr; node = side.at(node->next)) sum += node->value;
    return sum;
}
inline std::int64_t far_sum_tree(const FarSide& side, vmrpc::Ptr<FarTreeNode> root) {
    const FarTreeNode* node = side.at(root);
    return node == nullptr ? 0 : node->value + far_sum_tree(side, node->left) + far_sum_tree(side, node->right);
}
/// Of list, tree and table.
inline std::array<std::int64_t, 3> far_sums(const FarSide& side, const FarStructures& in) {
    std::array<std::int64_t, 3> sums{far_sum_list(side, in.list), far_sum_tree(side, in.tree), 0};
    for (const auto& bucket : in.buckets) sums[2] += far_sum_list(side, bucket);
    return sums;
}

inline void far_scale(const FarSide& side, vmrpc::Ptr<FarListNode> first, std::int64_t factor) {
    for (FarListNode* node = side.at(first); node != nullptr; node = side.at(node->next)) node->value *= factor;
}

inline void far_free_list(const FarSide& side, vmrpc::Ptr<FarListNode> first) {
    while (const FarListNode* node = side.at(first)) {
        const auto next = node->next;
        side.free(first);
        first = next;
    }
}
inline void far_free_tree(const FarSide& side, vmrpc::Ptr<FarTreeNode> root) {
    const FarTreeNode* node = side.at(root);
    if (node == nullptr) return;
    far_free_tree(side, node->left);
    far_free_tree(side, node->right);
    side.free(root);
}
inline void far_free(const FarSide& side, const FarStructures& in) {
    far_free_list(side, in.list);
    far_free_tree(side, in.tree);
    for (const auto& bucket : in.buckets) far_free_list(side, bucket);
}

}  // namespace conformance
