// The client's end of a connection: calls.
#pragma once

#include "base/clock.hpp"
#include "base/lazy_array.hpp"
#include "base/result.hpp"
#include "call/calls_from_server.hpp"
#include "call/client_counters.hpp"
#include "call/client_frame.hpp"
#include "call/endpoint.hpp"
#include "call/function.hpp"
#include "call/lane_pool.hpp"
#include "call/remote_pages.hpp"
#include "notify/waiters.hpp"
#include "stack/switch.hpp"
#include "transport/transport.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace vmrpc::call {

struct ClientOptions {
    std::string address;  // "local:/run/demo.sock"
    transport::Wishes wishes;
    std::int64_t timeout_ns = 0;
    std::int64_t spin_ns = notify::SpinBudget::kAdaptive;
    std::int64_t default_limit_ns = 0;  // of calls that have none of their own; 0: none
    heap::CommitOptions commit;         // limit and delay of the client's half of the heap
    transport::Preparation preparation;
};

/// Counters of what is rare. They order nothing.
struct ClientStats {
    std::atomic<std::uint64_t> implicit_copies{0};
    std::atomic<std::uint64_t> implicit_copy_bytes{0};
    std::atomic<std::uint64_t> rings{0};
    std::atomic<std::uint64_t> sleeps{0};
    std::atomic<std::uint64_t> spins{0};  // before a sleep, in vain
};

/// One connection of a client. Threads: any number may call at once.
class ClientConnection final : public Endpoint {
  public:
    /// Connects; blocks up to the timeout. Errors: those of transport::connect.
    static base::Result<std::unique_ptr<ClientConnection>> connect(const ClientOptions& options);
    ~ClientConnection() override;

    /// Calls a function and waits until it has returned, or `limit_ns` has passed (0: no limit).
    /// Errors: those of resolve(), of the arguments (encode_arguments, ClientLane::reserve), VMRPC_TIMED_OUT, what the
    /// server answers, and, once the connection is over, why.
    base::Status call(const Registered& function, std::int64_t limit_ns, void* const* arguments, void* result);

    enum class Plain {
        kDone,
        kNotPosted,  // nothing was done: call()
        kPosted,     // the request is on its way, or was answered with an error: finish_plain()
    };
    /// The short way for the common case: a function that is resolved and plain (plain.hpp), no time limit, a lane of
    /// the thread's own that is at rest. Defined in client_plain.hpp, to be inlined.
    Plain call_with_values(const Registered& function, void* const* arguments, void* result) noexcept;
    /// The same for one with neither arguments nor a result. For any handle: kNotPosted if it is no client's.
    static Plain call_without_values(vmrpc_connection& connection, std::uint32_t id) noexcept;
    /// Begins to time a call, if it is one to be timed.
    [[nodiscard]] Sample sample(const Registered& function) const noexcept {
        return {functions_.find(function.id), own_lane()};
    }
    /// The thread's own lane, or nullptr.
    [[nodiscard]] ClientLane* own_lane() const noexcept {
        return LanePool::has_own_lane(lanes_->serial()) ? &LanePool::last_own_lane() : nullptr;
    }
    /// Whether the thread's next call is to be timed, and the short way therefore not taken before sample().
    [[nodiscard]] bool is_sample_due() const noexcept {
        const ClientLane* const lane = own_lane();
        return lane != nullptr && lane->is_sample_due();
    }
    /// What comes after kPosted. Errors: those of call().
    base::Status finish_plain(const Registered& function, void* const* arguments, void* result);

    // --- asynchronous calls: client_async.cpp

    /// Posts a call and returns at once; `token` stands for it then. Spans that do not lie in the heap are copied in,
    /// in/out arguments and copies of mutable spans are written back by take(). Blocks only to resolve a function.
    /// Errors: those of call() up to its post, VMRPC_BAD_ARGUMENT (an argument lies on an RPC stack), VMRPC_BUSY (no
    /// lane has a free slot).
    base::Status start(const Registered& function, std::int64_t limit_ns, void* const* arguments, vmrpc_token& token);
    /// Posts a call that nobody waits for. Waits while all slots of the thread's lane carry such calls.
    /// Errors: those of start().
    base::Status post_one_way(const Registered& function, void* const* arguments);
    /// The short ways of both and of take(), for plain functions without in/out arguments. False: nothing was done.
    /// Defined in client_plain.hpp, to be inlined.
    static bool start_plain(vmrpc_connection& connection, const Registered& function, void* const* arguments,
                            vmrpc_token& token) noexcept;
    static bool post_one_way_plain(vmrpc_connection& connection, const Registered& function,
                                   void* const* arguments) noexcept;
    static bool take_plain(PendingCall& call, void* result) noexcept;

    /// Waits for the answer, up to the call's limit, and takes it; the call is over, but after VMRPC_BAD_ARGUMENT (no
    /// place for the result, or another thread completes it just now). Errors: those of call().
    base::Status take(PendingCall& call, void* result);
    /// Whether take() would not wait.
    [[nodiscard]] bool is_settled(const PendingCall& call) const;
    /// Waits until that, or the deadline. Returns whether it is.
    bool wait_settled(const PendingCall& call, base::Deadline deadline);
    /// Asks the server to cancel the call, which goes on until its answer is taken. Does not wait.
    void cancel(const PendingCall& call);
    /// Nobody wants the answer any more.
    void drop(PendingCall& call);
    /// Has `then` called once by poll(), on its thread, when take() does not wait any more. Errors: VMRPC_BAD_ARGUMENT
    /// (it is watched already).
    base::Status watch(PendingCall& call, void (*then)(void* context), void* context);
    /// Tells those whose watched calls are settled; if there is none, waits for one until the deadline. Returns how
    /// many. Errors: VMRPC_FUNCTION_FAILED (a `then` threw), why the connection is over, once none is left.
    base::Result<std::size_t> poll(base::Deadline deadline, bool waits);
    /// Counts what has been answered of the calling thread's one-way calls.
    void sweep_async();
    [[nodiscard]] std::uint64_t one_way_errors() const { return lanes_->one_way_errors(); }
    [[nodiscard]] base::Error last_one_way_error() { return lanes_->last_one_way_error(); }

    // --- functions that the server calls

    [[nodiscard]] CallsFromServer& calls_from_server() { return calls_from_server_; }
    /// Executes calls that the server makes between this client's, those that are there; if there is none, waits for
    /// one until the deadline, or not at all. Returns how many. Errors: why the connection is over.
    base::Result<std::size_t> serve(base::Deadline deadline, bool waits);
    [[nodiscard]] const vmrpc_caller& caller() const override { return caller_; }
    /// The server broke the protocol.
    void end_for_violation(base::Error error) { on_violation(std::move(error)); }
    /// Rings the server, if it sleeps, for something that any thread has published.
    void ring_from_any_thread();

    /// What a call without a limit of its own has; 0: none.
    [[nodiscard]] std::int64_t default_limit_ns() const { return default_limit_ns_; }

    /// Runs `run` on the RPC stack of the calling thread's lane, and returns when it has returned; at once, where it is
    /// called, if that is there already. An exception of its ends here.
    /// Errors: VMRPC_FUNCTION_FAILED (it threw), VMRPC_STACK_OVERFLOW, VMRPC_BUSY (the thread has no lane of its own),
    /// VMRPC_NOT_SUPPORTED (the stacks are too small, or AddressSanitizer keeps locals elsewhere),
    /// VMRPC_OUT_OF_RESOURCES, and why the connection is over.
    base::Status on_rpc_stack(void (*run)(void* argument), void* argument);

    /// Whether the calling code's calls run on the stack that it is on: both sides opted in, and that stack is this
    /// connection's.
    [[nodiscard]] bool lends_stack_here() const { return lends_stack_ && stack::is_on(owner()); }
    /// A call whose function runs on this thread's RPC stack. To be made on another stack; `lent` is the lowest byte in
    /// use there. Returns only when the server has done with the stack. Errors: those of call(), VMRPC_STACK_OVERFLOW
    /// (too little is left, or the function used it up).
    base::Status call_lending(const Registered& function, void* const* arguments, void* result, const std::byte* lent);

    /// Makes sure that the server has the function. Errors: VMRPC_UNKNOWN_FUNCTION, VMRPC_SIGNATURE_MISMATCH, and those
    /// of a call.
    base::Status require(const Registered& function);

    /// Whether this process made the connection, and not its parent before a fork.
    [[nodiscard]] bool is_of_this_process() const noexcept {
        return process_generation_ == notify::process_generation();
    }
    /// Nothing if it is, else what to do. Errors: VMRPC_CLOSED.
    [[nodiscard]] base::Status usable_here() const;
    [[nodiscard]] const ClientStats& stats() const { return stats_; }
    [[nodiscard]] const ClientFunctions& functions() const { return functions_; }
    /// What was connected to, and when.
    [[nodiscard]] const std::string& address() const { return address_; }
    [[nodiscard]] std::int64_t connected_ns() const { return connected_ns_; }
    [[nodiscard]] std::uint64_t calls() const { return lanes_->calls(); }
    [[nodiscard]] std::uint64_t abandoned() const { return lanes_->abandoned(); }

  private:
    struct Events final : transport::ClientEvents {
        ClientConnection* connection = nullptr;  // set before the link can report: under its own mutex
        void lost() override;
        void attach(ClientConnection& to);
        std::mutex mutex;
        bool was_lost = false;
    };
    struct Exchange;  // one call on its way

    ClientConnection(std::unique_ptr<Events> events, std::unique_ptr<transport::ClientLink> link,
                     const ClientOptions& options, std::unique_ptr<RemotePages> pages);
    /// Whose RPC stacks ours are, to src/stack/: the handle.
    [[nodiscard]] const void* owner() const { return static_cast<const vmrpc_connection*>(this); }
    base::Status call_by(const Registered& function, std::int64_t limit_ns, void* const* arguments, void* result,
                         const std::byte* lent);
    void on_violation(base::Error error) override;
    [[nodiscard]] base::Error reason_of_loss() const;
    void server_lost();
    base::Result<std::uint32_t> server_index(const Registered& function, base::Deadline deadline);
    base::Result<std::uint32_t> resolve(const Registered& function, base::Deadline deadline);
    base::Result<std::uint32_t> ask_for(const Function& function, base::Deadline deadline);
    base::Status exchange(Exchange& call);
    base::Status post(Exchange& call, LanePool::Use& use);
    base::Result<Slot> reserve(const Exchange& call, LanePool::Use& use);
    using ReplyWord = layout::SharedWord<std::uint64_t>;
    template <class Ready>
    bool await(const Ready& ready, base::Deadline deadline, notify::SpinBudget& budget, std::uint64_t lanes);
    template <class Ready>
    bool await_event(const Ready& ready, base::Deadline deadline, notify::SpinBudget& budget);
    template <class Ready>
    bool sleep(const Ready& ready, base::Deadline deadline, notify::SpinBudget& budget);
    [[nodiscard]] base::Result<std::uint32_t> depth_here() const;
    [[nodiscard]] std::uint64_t lanes_served_with(const ClientLane& lane) const {
        return lanes_->own_lanes() | std::uint64_t{1} << lane.number();
    }
    static ClientLane* usual_lane(const vmrpc_connection& connection) noexcept;
    static ClientLane* usual_async_lane(const vmrpc_connection& connection, const Function& function) noexcept;
    static std::uint32_t reserve_usual(ClientLane& lane, const Function& function, std::uint64_t known,
                                       void* const* arguments) noexcept;
    void post_usual(ClientLane& lane, const Function& function, std::uint64_t known, std::uint32_t slot) noexcept;
    Plain exchange_plain(ClientLane& lane, std::uint32_t index, std::uint64_t sizes) noexcept;
    [[nodiscard]] const layout::RingMe& server_ring_me() const {
        return control().ring_me[index_of(layout::Side::kServer)];
    }
    void ring_if_asleep(ClientLane& lane);
    void judge_spinning(ClientLane& lane);
    base::Status finish(Exchange& call, LanePool::Use& use);
    base::Status take_reply(const Function& function, const Slot& slot, const ClientLane& lane, void* const* arguments,
                            void* result);
    base::Status poisoned_by_reply(std::string text);
    void outlast_server(const Exchange& call, const ClientLane& lane) const;
    base::Status give_up(Exchange& call, LanePool::Use& use);
    void sweep(ClientLane& lane) { lanes_->sweep(lane); }
    void count_copies(const CopiesIn& copies);
    void post_cancel(ClientLane& lane, std::uint64_t sequence);

    base::Status start_on(ClientLane& lane, const Registered& function, std::uint32_t index, std::uint32_t depth,
                          base::Deadline deadline, void* const* arguments, vmrpc_token& token);
    base::Status post_on(ClientLane& lane, const Function& function, std::uint32_t index, std::uint32_t depth,
                         void* const* arguments);
    base::Result<ClientLane*> one_way_lane();
    base::Status check_places(const Function& function, void* const* arguments) const;
    base::Status give_up(PendingCall& call);
    void abandon(PendingCall& call);
    void release(PendingCall& call);
    template <class Visit>
    void for_each_watched(const Visit& visit) const;
    [[nodiscard]] std::uint64_t lanes_of_polling() const;
    bool wait_for_any(base::Deadline deadline);
    [[nodiscard]] bool has_watched() const;
    [[nodiscard]] bool has_settled_watched() const;
    [[nodiscard]] base::Deadline first_watched_deadline() const;
    std::size_t tell_settled(std::string& thrown);
    void close_pending();

    std::unique_ptr<Events> events_;
    std::unique_ptr<transport::ClientLink> link_;
    std::unique_ptr<RemotePages> pages_;  // where the link has none
    std::shared_ptr<LanePool> lanes_;
    CallsFromServer calls_from_server_{*this};
    vmrpc_caller caller_;  // the server
    void* no_state_ = nullptr;
    /// The server's ring-me generation that was rung for calls back. Release after the ring; who loads it with acquire,
    /// and leaves out its own ring for it, comes after that.
    std::atomic<std::uint32_t> callback_ring_seen_{0};
    notify::Waiters waiters_;
    bool lends_stack_;
    std::int64_t default_limit_ns_;
    std::int64_t spin_ns_;
    /// Changes when a call is watched that was not: who waits for any looks anew. Both are seq_cst: either who watches
    /// sees the waiting thread, or that sees the watched call.
    std::atomic<std::uint64_t> watched_count_{0};
    std::atomic<std::uint32_t> waiting_for_any_{0};
    std::uint32_t process_generation_;
    /// The server's end was reported: it writes nothing any more. Release when it is, acquire before its memory is used
    /// for something else.
    std::atomic<bool> server_is_gone_{false};
    ClientFunctions functions_;
    std::string address_;
    std::int64_t connected_ns_ = base::now_ns();
    ClientStats stats_;
};

}  // namespace vmrpc::call
