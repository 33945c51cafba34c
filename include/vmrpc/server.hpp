// vmrpc, C++: servers.
#pragma once

#include "vmrpc/stub.hpp"

#include <any>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace vmrpc {
inline namespace v0 {

/// A client of a server's, for calls of its functions from any thread, at any time. May be copied. Outlives the
/// connection, whose memory stays mapped meanwhile: calls return why it is over then.
class Peer {
  public:
    Peer() = default;
    /// Calls a function that the client has added to its connection (Client::add), and waits for its result. Errors:
    /// those of vmrpc_impl_call and of calls back (impl.h); VMRPC_BAD_ARGUMENT for an empty object.
    template <auto kFunction, class... Arguments>
    VMRPC_IMPL_NODEBUG auto call(Arguments&&... arguments) const {
        return decltype(detail::stub_of<kFunction>())::call(connection_, nullptr,
                                                            std::forward<Arguments>(arguments)...);
    }
    /// The same with a limit, above 0, in place of the server's callback_limit.
    template <auto kFunction, class... Arguments>
    VMRPC_IMPL_NODEBUG auto call_within(std::chrono::nanoseconds limit, Arguments&&... arguments) const {
        const vmrpc_call_options options{.struct_bytes = sizeof options, .limit_ns = limit.count()};
        return decltype(detail::stub_of<kFunction>())::call(connection_, &options,
                                                            std::forward<Arguments>(arguments)...);
    }

  private:
    friend class Caller;
    explicit Peer(ConnectionHold connection) : connection_(std::move(connection)) {}
    ConnectionHold connection_;
};

/// Who calls. Valid while the function runs, and in on_open and on_close. In a function of a client's that its server
/// calls: the server, of which only heap(), remaining() and cancelled() say something.
class Caller {
  public:
    explicit Caller(const vmrpc_caller& caller) : caller_(&caller) {}

    /// Number of the connection, unique in this server, from 1.
    [[nodiscard]] std::uint64_t connection_number() const { return caller_->connection_number; }
    [[nodiscard]] std::uint32_t uid() const { return caller_->uid; }
    [[nodiscard]] std::uint32_t gid() const { return caller_->gid; }
    [[nodiscard]] std::uint32_t pid() const { return caller_->pid; }
    /// Number of the VM on this server, from 1; 0 for a process of this machine.
    [[nodiscard]] std::uint32_t vm() const { return caller_->vm; }
    /// Both sides opted in: pointers inside data may be followed.
    [[nodiscard]] bool trusted() const { return caller_->trusted != 0; }
    /// What the server keeps for this connection; empty at first, destroyed after on_close. Functions on workers may
    /// use it at the same time: they lock it themselves, unless all that use it are ordered.
    [[nodiscard]] std::any& state() const { return *static_cast<std::any*>(*caller_->state); }
    /// How long the caller still waits for the call that this thread serves, at least 0; nothing if it set no limit.
    [[nodiscard]] static std::optional<std::chrono::nanoseconds> remaining() {
        const std::int64_t remaining_ns = VMRPC_REMAINING_NS();
        if (remaining_ns == INT64_MAX) return std::nullopt;
        return std::chrono::nanoseconds(remaining_ns);
    }
    /// Whether nobody waits for it any more: see VMRPC_IS_CANCELLED. To be asked now and then by a function that takes
    /// long; to give up, throw: a cancelled call ends with VMRPC_CANCELLED then.
    [[nodiscard]] static bool cancelled() { return VMRPC_IS_CANCELLED() != 0; }
    /// Calls a function that the client has added to its connection (Client::add), and waits for its result: on the
    /// thread that waits for the call being served. See Peer for its errors, and for calls from elsewhere.
    template <auto kFunction, class... Arguments>
    VMRPC_IMPL_NODEBUG auto call(Arguments&&... arguments) const {
        return here().call<kFunction>(std::forward<Arguments>(arguments)...);
    }
    template <auto kFunction, class... Arguments>
    VMRPC_IMPL_NODEBUG auto call_within(std::chrono::nanoseconds limit, Arguments&&... arguments) const {
        return here().call_within<kFunction>(limit, std::forward<Arguments>(arguments)...);
    }
    /// The client, to be called after the function has returned too.
    [[nodiscard]] Peer peer() const {
        if (VMRPC_HOLD(caller_->connection) != VMRPC_OK) return {};
        return Peer(ConnectionHold(caller_->connection, [](vmrpc_connection* held) { VMRPC_RELEASE(held); }));
    }
    /// The server's half of the connection's heap; heap().set_up() makes further ones.
    [[nodiscard]] Heap heap() const { return Heap(ConnectionHold(ConnectionHold{}, caller_->connection)); }

  private:
    [[nodiscard]] Peer here() const { return Peer(ConnectionHold(ConnectionHold{}, caller_->connection)); }
    const vmrpc_caller* caller_;
};

/// In a server function: who calls. Requires that this thread is serving a call.
[[nodiscard]] inline Caller caller() {
    return Caller(*VMRPC_CALLER());
}

/// See vmrpc_serve_options.
struct ServeOptions {
    std::uint64_t heap_bytes = 0;
    std::chrono::nanoseconds spin{VMRPC_SPIN_ADAPTIVE};
    std::uint32_t max_lanes = 0;
    std::uint32_t max_connections = 0;
    bool trust_peer = false;
    bool borrow_stack = false;
    /// On the serving thread, before the first and after the last call of a connection. Must not throw.
    std::function<void(const Caller&)> on_open = {};
    std::function<void(const Caller&)> on_close = {};
    std::uint64_t commit_limit_bytes = 0;
    std::chrono::nanoseconds trim_after = std::chrono::seconds(1);  // below 0: only by Heap::trim()
    bool prefault = false;
    bool lock = false;
    vmrpc_huge_pages huge_pages = VMRPC_HUGE_PAGES_NONE;
    bool allow_huge_pages = false;
    std::uint64_t further_heap_bytes = 0;
    std::uint32_t workers = 0;
    std::uint32_t max_client_calls = 0;
    std::uint32_t calls_per_turn = 0;
    std::chrono::nanoseconds drain_limit{0};                             // 0: none; below: run() waits for nothing
    std::chrono::nanoseconds callback_limit = std::chrono::seconds(10);  // 0 or below: none
};

/// How a function is executed; see vmrpc_add_options. By default on the serving thread.
struct AddOptions {
    bool pooled = false;            // on a worker (ServeOptions::workers), possibly several calls at a time
    bool ordered = false;           // pooled: one connection's calls one after the other
    std::uint32_t max_running = 0;  // pooled: calls of all clients at a time; 0: as many as workers
};

namespace detail {
template <class T>
concept NotAddOptions = !std::is_same_v<T, AddOptions>;
}  // namespace detail

/// A server. Move-only. Add functions, then run(), or poll() from a loop of your own.
class Server {
  public:
    /// Opens "local:PATH", or "vm:FOLDER" (or "ivshmem:PATH") for VMs. If that fails, status() says why, and so does
    /// run().
    explicit Server(const std::string& address, ServeOptions options = {})
        : hooks_(std::make_unique<Hooks>(Hooks{std::move(options.on_open), std::move(options.on_close)})) {
        const vmrpc_serve_options given{
            .struct_bytes = sizeof given,
            .heap_bytes = options.heap_bytes,
            .spin_ns = options.spin.count(),
            .max_lanes = options.max_lanes,
            .max_connections = options.max_connections,
            .trust_peer = options.trust_peer ? 1 : 0,
            .borrow_stack = options.borrow_stack ? 1 : 0,
            .on_open = [](const vmrpc_caller* caller, void* user) { static_cast<Hooks*>(user)->open(*caller); },
            .on_close = [](const vmrpc_caller* caller, void* user) { static_cast<Hooks*>(user)->close(*caller); },
            .user = hooks_.get(),
            .commit_limit_bytes = options.commit_limit_bytes,
            .trim_after_ns = options.trim_after.count() == 0 ? 1 : options.trim_after.count(),
            .prefault = options.prefault ? 1 : 0,
            .lock = options.lock ? 1 : 0,
            .huge_pages = options.huge_pages,
            .allow_huge_pages = options.allow_huge_pages ? 1 : 0,
            .further_heap_bytes = options.further_heap_bytes,
            .workers = options.workers,
            .max_client_calls = options.max_client_calls,
            .calls_per_turn = options.calls_per_turn,
            .drain_limit_ns = options.drain_limit.count(),
            .callback_limit_ns = options.callback_limit.count() > 0 ? options.callback_limit.count() : -1,
        };
        vmrpc_server* server = nullptr;
        note(detail::to_result(vmrpc_serve(address.c_str(), &given, &server)));
        server_.reset(server);
    }

    /// Serves a function by calling it, or by calling `callable` in its place. Only before run() or poll(). The first
    /// failure is also what run() returns. Errors: VMRPC_BAD_ARGUMENT (added before; options that do not go together),
    /// VMRPC_FRAME_TOO_LARGE, and that of the constructor.
    template <auto kFunction>
    VMRPC_IMPL_NODEBUG Result<void> add(const AddOptions& options = {}) {
        return add<kFunction>(kFunction, options);
    }
    template <auto kFunction, detail::NotAddOptions Callable>
    VMRPC_IMPL_NODEBUG Result<void> add(Callable callable, const AddOptions& options = {}) {
        return add_stub<decltype(detail::stub_of<kFunction>())>(std::move(callable), options);
    }

    /// Executes calls, on this thread and the workers, until stop() and until those that it has taken are answered.
    /// Errors: what failed before, those of VMRPC_RUN.
    Result<void> run() {
        if (!status_) return status_;
        return detail::to_result(VMRPC_RUN(server_.get()));
    }
    /// Serves what is there without waiting, and returns how many requests that were; after 0 descriptor() becomes
    /// readable when there is more:
    ///     auto taken = server.poll();
    ///     while (taken && *taken != 0) taken = server.poll();
    ///     if (taken) epoll_wait(...);  // with descriptor() among others
    /// Errors: what failed before, those of VMRPC_POLL: VMRPC_SHUTTING_DOWN when a stop() is carried out.
    Result<std::uint64_t> poll() {
        if (!status_) return tl::unexpected(status_.error());
        std::uint64_t taken = 0;
        if (VMRPC_POLL(server_.get(), &taken) != VMRPC_OK) return detail::last_error();
        return taken;
    }
    /// The server's own; see VMRPC_DESCRIPTOR. -1 if the constructor failed.
    [[nodiscard]] int descriptor() const { return VMRPC_DESCRIPTOR(server_.get()); }
    /// Makes run() answer what it has taken, and return; the next run() at once, if none runs. The second time: without
    /// waiting. Any thread, server functions, and signal handlers.
    void stop() const { VMRPC_STOP(server_.get()); }
    /// What the server has counted since it began, as JSON: docs/STATS.md lists the keys. Empty if it could not be
    /// made. Any thread, but not while functions are added.
    [[nodiscard]] std::string report() const {
        return detail::whole_text(
            [&](char* text, std::size_t bytes) { return VMRPC_REPORT(server_.get(), text, bytes); });
    }
    /// The first failure, if any.
    [[nodiscard]] const Result<void>& status() const { return status_; }
    /// For the C API.
    [[nodiscard]] vmrpc_server* handle() const { return server_.get(); }

  private:
    /// The user's callbacks, and the state that each connection keeps for the user.
    struct Hooks {
        std::function<void(const Caller&)> on_open;
        std::function<void(const Caller&)> on_close;

        void open(const vmrpc_caller& caller) const {
            *caller.state = std::make_unique<std::any>().release();
            if (on_open) on_open(Caller(caller));
        }
        void close(const vmrpc_caller& caller) const {
            if (on_close) on_close(Caller(caller));
            const std::unique_ptr<std::any> ending(static_cast<std::any*>(*caller.state));
        }
    };
    struct Close {
        void operator()(vmrpc_server* server) const { vmrpc_close(server); }
    };

    template <class Stub, class Callable>
    Result<void> add_stub(Callable callable, const AddOptions& options) {
        if (!status_) return status_;
        const vmrpc_add_options given{.struct_bytes = sizeof given,
                                      .pooled = options.pooled ? 1 : 0,
                                      .ordered = options.ordered ? 1 : 0,
                                      .max_running = options.max_running};
        return note(detail::to_result(detail::add_owned<Stub>(
            std::move(callable), [&](auto... parts) { return vmrpc_impl_add(server_.get(), parts..., &given); })));
    }
    const Result<void>& note(Result<void> result) {
        if (status_ && !result) status_ = std::move(result);
        return status_;
    }

    std::unique_ptr<Hooks> hooks_;
    std::unique_ptr<vmrpc_server, Close> server_;
    Result<void> status_;
};

/// In a server function: an array in the calling connection's heap, to be returned. Errors as Heap::make_array.
template <Plain T>
[[nodiscard]] Result<Array<T>> make_array(std::size_t count) {
    return caller().heap().make_array<T>(count);
}

}  // namespace v0
}  // namespace vmrpc
