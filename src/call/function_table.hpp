// The functions that a server has: the RPC dispatch table.
#pragma once

#include "base/result.hpp"
#include "call/function.hpp"
#include "call/resolve.hpp"

#include <vmrpc/vmrpc.h>

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace vmrpc::call {

/// Private to the server: a client sends an index, which is checked against it. Filled before serving, constant then.
class FunctionTable {
  public:
    struct alignas(64) Entry {  // a power of two: found by a shift
        const Function* function = nullptr;
        vmrpc_impl_handler handler = nullptr;
        void* user = nullptr;
        void (*release)(void* user) = nullptr;
        /// plain_sizes() of a function that is plain.
        std::uint64_t sizes = 0;
        bool is_plain = false;
    };

    /// Has the library's own functions at their reserved indices.
    FunctionTable();
    /// Releases what entries own.
    ~FunctionTable();
    FunctionTable(const FunctionTable&) = delete;
    FunctionTable& operator=(const FunctionTable&) = delete;

    /// Errors: VMRPC_BAD_ARGUMENT (a function of this signature is there already).
    base::Status add(const Entry& entry);

    /// The entry that a client's index means, or nullptr.
    [[nodiscard]] const Entry* find(std::uint32_t index) const {
        if (index >= entries_.size() || entries_[index].function == nullptr) return nullptr;
        return &entries_[index];
    }
    /// The same for a plain function with these sizes (Function::plain_sizes()).
    [[nodiscard]] const Entry* find_plain(std::uint32_t index, std::uint64_t sizes) const {
        if (index >= entries_.size()) return nullptr;
        const Entry& entry = entries_[index];
        return entry.is_plain && entry.sizes == sizes ? &entry : nullptr;
    }

    [[nodiscard]] ResolveReply resolve(const ResolveRequest& request) const;

  private:
    std::vector<Entry> entries_;
    std::unordered_multimap<std::uint64_t, std::uint32_t> by_fingerprint_;
};

}  // namespace vmrpc::call
