// vmrpc, C++: clients.
#pragma once

#include "vmrpc/future.hpp"
#include "vmrpc/stub.hpp"

#include <chrono>
#include <cstddef>
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
    std::chrono::nanoseconds default_limit{0};  // of calls that are given no limit of their own; 0: none
};

/// A connection to a server. Move-only. Threads: any number may call at once; a move or the destruction needs the
/// object alone. The connection ends with the object and the last Array, Owned or Heap of it. Futures do not keep it
/// open: they get VMRPC_CLOSED then.
class Client {
  public:
    /// Connects to "local:PATH" or, in a VM, "vm:" (or "ivshmem:"). Blocks up to the timeout. Errors: those of
    /// vmrpc_connect.
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
            .default_limit_ns = options.default_limit.count(),
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
        const vmrpc_call_options options = limited(limit);
        return decltype(detail::stub_of<kFunction>())::call(connection_, &options,
                                                            std::forward<Arguments>(arguments)...);
    }

    /// Starts a call and returns a Future of its result, without waiting for it: many can be on their way from one
    /// thread, and are answered in any order. Values are copied before this returns. What lies in the heap, Array,
    /// Owned and the targets of spans and pointers, stays in place: keep it, and leave it alone, until the future is
    /// ready. Spans elsewhere are copied in, and their memory is not needed afterwards; but if their elements are not
    /// const they are copied back, as arguments of type T& are, by the future's get(): these must live until then, on
    /// whichever thread that is. Nothing is written back for a future that is destroyed.
    ///
    /// Blocks only where the function has to be resolved: require() does it ahead. 16 calls take a lane of the
    /// connection (max_lanes); a thread takes further ones as it needs them, and keeps them. Calls of one thread are
    /// answered in no certain order, nor before or after those of call().
    /// Errors, which the future holds: those of call(), VMRPC_BUSY (no lane has a free slot: get() some answers), and
    /// VMRPC_BAD_ARGUMENT if an argument lies on an RPC stack, where it might not live as long as the call.
    template <auto kFunction, class... Arguments>
    VMRPC_IMPL_NODEBUG auto async(Arguments&&... arguments) const {
        return start<decltype(detail::stub_of<kFunction>())>(nullptr, std::forward<Arguments>(arguments)...);
    }
    /// The same, but the future gets VMRPC_TIMED_OUT when `limit` has passed from now on.
    template <auto kFunction, class... Arguments>
    VMRPC_IMPL_NODEBUG auto async_within(std::chrono::nanoseconds limit, Arguments&&... arguments) const {
        const vmrpc_call_options options = limited(limit);
        return start<decltype(detail::stub_of<kFunction>())>(&options, std::forward<Arguments>(arguments)...);
    }

    /// Posts a call and forgets it: its result is dropped, what it returned in the heap is freed, an error is counted
    /// (stats().one_way_errors, last_one_way_error()). Arguments as for async(), but nothing is written back. Waits for
    /// the server where 16 such calls of this thread are on their way. Errors, if it could not be posted: those of
    /// async().
    template <auto kFunction, class... Arguments>
    VMRPC_IMPL_NODEBUG Result<void> post(Arguments&&... arguments) const {
        return detail::to_result(
            decltype(detail::stub_of<kFunction>())::post(connection_.get(), std::forward<Arguments>(arguments)...));
    }
    /// How the last call of post() that failed did; VMRPC_OK if none did. Each thread's calls are looked at when that
    /// thread posts or starts another, polls, or asks this or stats().
    [[nodiscard]] Error last_one_way_error() const {
        Error error;
        error.text.resize(kOneWayTextBytes);
        error.status = vmrpc_impl_last_one_way_error(connection_.get(), error.text.data(), error.text.size());
        error.text.resize(error.text.find('\0'));
        return error;
    }

    /// Runs, on this thread, what was given to then() of futures that are ready, and resumes coroutines that wait for
    /// them (unless they go to an executor). If there is none, waits up to `limit` for the first (0: does not wait),
    /// but not if nobody waits for any. Returns how many. There is no hidden thread: what nobody polls is not run. Also
    /// frees what futures held that were destroyed. Any thread, several at once too.
    /// Errors: VMRPC_FUNCTION_FAILED (one threw; all were run), and why the connection is over, once none is left.
    Result<std::size_t> poll(std::chrono::nanoseconds limit = std::chrono::nanoseconds(0)) const {
        std::size_t told = 0;
        if (vmrpc_impl_poll_answers(connection_.get(), limit.count(), &told) != VMRPC_OK) return detail::last_error();
        return told;
    }

    /// Serves a function for this connection's server, which calls it back (Caller::call), by calling it, or `callable`
    /// in its place. It runs on the thread that waits for the call in which the server calls it, between calls on one
    /// that is in serve() or poll(): several may run it at a time. It may call the server in turn, 16 deep. An
    /// exception of its is the server's VMRPC_FUNCTION_FAILED. At any time. Errors: VMRPC_BAD_ARGUMENT (added before),
    /// VMRPC_FRAME_TOO_LARGE, VMRPC_CLOSED.
    template <auto kFunction>
    VMRPC_IMPL_NODEBUG Result<void> add() const {
        return add<kFunction>(kFunction);
    }
    template <auto kFunction, class Callable>
    VMRPC_IMPL_NODEBUG Result<void> add(Callable callable) const {
        return add_stub<decltype(detail::stub_of<kFunction>())>(std::move(callable));
    }
    /// Executes what the server calls between this client's calls, on this thread; if there is nothing, waits up to
    /// `limit` for it (0: does not wait). Returns how many calls it were. Any thread, several at once too.
    /// Errors: why the connection is over.
    Result<std::size_t> serve(std::chrono::nanoseconds limit) const {
        std::size_t served = 0;
        if (VMRPC_SERVE(connection_.get(), limit.count(), &served) != VMRPC_OK) return detail::last_error();
        return served;
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
    /// What this client has counted since it connected, and how long its calls took, as JSON: docs/STATS.md lists the
    /// keys. Empty if it could not be made. Any thread.
    [[nodiscard]] std::string report() const {
        return detail::whole_text(
            [&](char* text, std::size_t bytes) { return VMRPC_CLIENT_REPORT(connection_.get(), text, bytes); });
    }
    /// For the C API.
    [[nodiscard]] vmrpc_connection* handle() const { return connection_.get(); }

  private:
    static constexpr std::size_t kOneWayTextBytes = 257;  // with the NUL

    static vmrpc_call_options limited(std::chrono::nanoseconds limit) {
        return {.struct_bytes = sizeof(vmrpc_call_options), .limit_ns = limit.count() > 0 ? limit.count() : -1};
    }
    template <class Stub, class... Arguments>
    Future<typename Stub::Value> start(const vmrpc_call_options* options, Arguments&&... arguments) const {
        vmrpc_token token;
        if (Stub::start(connection_.get(), options, token, std::forward<Arguments>(arguments)...) != VMRPC_OK)
            [[unlikely]]
            return Future<typename Stub::Value>(detail::last_error().value());
        return Future<typename Stub::Value>(connection_, token);
    }
    explicit Client(ConnectionHold connection) : connection_(std::move(connection)) {}
    template <class Stub, class Callable>
    Result<void> add_stub(Callable callable) const {
        return detail::to_result(detail::add_owned<Stub>(
            std::move(callable), [&](auto... parts) { return vmrpc_impl_add_to_client(connection_.get(), parts...); }));
    }
    [[nodiscard]] Result<void> require_one(vmrpc_impl_function& function) const {
        return detail::to_result(vmrpc_impl_require(connection_.get(), &function));
    }

    ConnectionHold connection_;
};

}  // namespace v0
}  // namespace vmrpc
