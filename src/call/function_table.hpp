// The functions that a server has: the RPC dispatch table.
#pragma once

#include "base/result.hpp"
#include "call/counters.hpp"
#include "call/function.hpp"
#include "call/resolve.hpp"

#include <vmrpc/vmrpc.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace vmrpc::call {

/// How calls of a function are executed.
struct Execution {
    bool is_pooled = false;          // by workers, not by the serving thread
    bool is_ordered = false;         // those of one connection one after the other; of all ordered functions together
    std::uint32_t most_running = 0;  // calls that run at a time, of all clients; 0: no limit
};

/// A function that workers execute. `running` is under their pool's mutex.
struct PooledFunction {
    bool is_ordered = false;
    std::uint32_t most_running = 0;
    std::uint32_t running = 0;
};

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
        std::uint32_t index = 0;  // in the table
        /// nullptr: the serving thread executes it. Lives as long as the table.
        PooledFunction* pooled = nullptr;
        /// Likewise. Those of the library's own functions count together. nullptr in a client's table.
        FunctionCounters* counters = nullptr;
    };
    static_assert(sizeof(Entry) == 64);

    enum class Of { kServer, kClient };
    /// Has the library's own functions, those that clients, or servers, call, at their reserved indices.
    explicit FunctionTable(Of side = Of::kServer);
    /// Releases what entries own.
    ~FunctionTable();
    FunctionTable(const FunctionTable&) = delete;
    FunctionTable& operator=(const FunctionTable&) = delete;

    /// Errors: VMRPC_BAD_ARGUMENT (a function of this signature is there already).
    base::Status add(const Entry& entry, const Execution& execution = {});

    /// Whether a function of this signature is there.
    [[nodiscard]] bool has(const Function& function) const;

    /// The entry that a request means. Errors: VMRPC_UNKNOWN_FUNCTION, VMRPC_SIGNATURE_MISMATCH (its frames have other
    /// sizes).
    [[nodiscard]] base::Result<const Entry*> find(const layout::RequestBody& request) const;
    /// The entry of an index, or nullptr, for a plain function with these sizes (Function::plain_sizes()).
    [[nodiscard]] const Entry* find_plain(std::uint32_t index, std::uint64_t sizes) const {
        if (index >= entries_.size()) return nullptr;
        const Entry& entry = entries_[index];
        return entry.is_plain && entry.sizes == sizes ? &entry : nullptr;
    }

    /// Serves the library's own function that reports on the server; clients find it by its name, as the user's.
    void add_report(vmrpc_impl_handler handler, void* user);
    /// The user's functions, in the order in which they were added.
    [[nodiscard]] std::span<const Entry> of_user() const {
        return std::span(entries_).subspan(layout::kReservedFunctions);
    }

    [[nodiscard]] ResolveReply resolve(const ResolveRequest& request) const;

  private:
    std::vector<Entry> entries_;
    std::vector<std::unique_ptr<PooledFunction>> pooled_;
    std::vector<std::unique_ptr<FunctionCounters>> counters_;  // the library's own first
    std::unordered_multimap<std::uint64_t, std::uint32_t> by_fingerprint_;
};

}  // namespace vmrpc::call
