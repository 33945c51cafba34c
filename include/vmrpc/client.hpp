// vmrpc, C++: clients.
#pragma once

#include "vmrpc/stub.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

namespace vmrpc {
inline namespace v0 {

/// See vmrpc_connect_options.
struct ConnectOptions {
    std::chrono::nanoseconds timeout = std::chrono::seconds(5);
    std::uint64_t heap_bytes = 0;
    std::chrono::nanoseconds spin{VMRPC_SPIN_ADAPTIVE};
    std::uint32_t max_lanes = 0;
    bool trust_peer = false;
    bool borrow_stack = false;
    bool unequal_addresses = false;
    std::uint64_t commit_limit_bytes = 0;
    std::chrono::nanoseconds trim_after = std::chrono::seconds(1);  // below 0: only by Heap::trim()
    bool prefault = false;
    bool lock = false;
    vmrpc_huge_pages huge_pages = VMRPC_HUGE_PAGES_NONE;
};

/// A connection to a server. Move-only. Threads: any number may call at once; a move or the destruction needs the
/// object alone. The connection ends with the object and the last Array, Owned or Heap of it.
class Client {
  public:
    /// Connects to "local:PATH" or, in a VM, "ivshmem:". Blocks up to the timeout. Errors: those of vmrpc_connect.
    [[nodiscard]] static Result<Client> connect(const std::string& address, const ConnectOptions& options = {}) {
        const vmrpc_connect_options given{
            .struct_bytes = sizeof given,
            .timeout_ns = options.timeout.count(),
            .heap_bytes = options.heap_bytes,
            .spin_ns = options.spin.count(),
            .max_lanes = options.max_lanes,
            .trust_peer = options.trust_peer ? 1 : 0,
            .borrow_stack = options.borrow_stack ? 1 : 0,
            .unequal_addresses = options.unequal_addresses ? 1 : 0,
            .commit_limit_bytes = options.commit_limit_bytes,
            .trim_after_ns = options.trim_after.count() == 0 ? 1 : options.trim_after.count(),
            .prefault = options.prefault ? 1 : 0,
            .lock = options.lock ? 1 : 0,
            .huge_pages = options.huge_pages,
        };
        vmrpc_connection* connection = nullptr;
        if (vmrpc_connect(address.c_str(), &given, &connection) != VMRPC_OK) return detail::last_error();
        return Client(ConnectionHold(connection, [](vmrpc_connection* closing) { vmrpc_close(closing); }));
    }

    /// Calls a function of the server's, which needs to be declared here only, and waits for its result. Arguments
    /// convert to the function's parameters. Spans that lie in the heap are not copied; others are, there and, if their
    /// elements are not const, back (see stats().implicit_copies). Errors: VMRPC_UNKNOWN_FUNCTION,
    /// VMRPC_SIGNATURE_MISMATCH (at the first call), VMRPC_OUTSIDE_HEAP, VMRPC_HEAP_FULL, VMRPC_FUNCTION_FAILED (it
    /// threw; the text is the exception's), VMRPC_BUSY, and why the connection is over.
    template <auto kFunction, class... Arguments>
    VMRPC_IMPL_NODEBUG auto call(Arguments&&... arguments) const {
        return decltype(detail::stub_of<kFunction>())::call(connection_, nullptr,
                                                            std::forward<Arguments>(arguments)...);
    }

    /// The same, but returns VMRPC_TIMED_OUT when `limit` has passed. The server may still run the function; what it
    /// answers then is dropped. With a span of, or a pointer to, something on the RPC stack (on_rpc_stack) the call
    /// waits for the server's answer all the same, and returns it.
    template <auto kFunction, class... Arguments>
    VMRPC_IMPL_NODEBUG auto call_within(std::chrono::nanoseconds limit, Arguments&&... arguments) const {
        const vmrpc_call_options options{.struct_bytes = sizeof options,
                                         .limit_ns = limit.count() > 0 ? limit.count() : -1};
        return decltype(detail::stub_of<kFunction>())::call(connection_, &options,
                                                            std::forward<Arguments>(arguments)...);
    }

    /// Checks that the server has these functions, with these signatures, so that the first call need not ask.
    template <auto... kFunctions>
    VMRPC_IMPL_NODEBUG Result<void> require() const {
        Result<void> result;
        // Stops at the first that fails.
        static_cast<void>((... && (result = require_one(decltype(detail::stub_of<kFunctions>())::declaration()))));
        return result;
    }

    /// This side's half of the connection's heap; heap().set_up() makes further ones.
    [[nodiscard]] Heap heap() const { return Heap(connection_); }
    /// An object that a Ptr of this connection means, or nullptr.
    template <class T>
    [[nodiscard]] T* get(Ptr<T> pointer) const {
        return pointer.get_from(connection_.get());
    }
    [[nodiscard]] vmrpc_impl_stats stats() const {
        vmrpc_impl_stats stats{};
        stats.struct_bytes = sizeof stats;
        vmrpc_impl_read_stats(connection_.get(), &stats);
        return stats;
    }
    /// For the C API.
    [[nodiscard]] vmrpc_connection* handle() const { return connection_.get(); }

  private:
    explicit Client(ConnectionHold connection) : connection_(std::move(connection)) {}
    [[nodiscard]] Result<void> require_one(vmrpc_impl_function& function) const {
        return detail::to_result(vmrpc_impl_require(connection_.get(), &function));
    }

    ConnectionHold connection_;
};

}  // namespace v0
}  // namespace vmrpc
