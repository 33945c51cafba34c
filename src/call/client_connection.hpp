// The client's end of a connection: calls.
#pragma once

#include "base/clock.hpp"
#include "base/result.hpp"
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
#include <string_view>
#include <vector>

namespace vmrpc::call {

struct ClientOptions {
    std::string address;  // "local:/run/demo.sock"
    transport::Wishes wishes;
    std::int64_t timeout_ns = 0;
    std::int64_t spin_ns = notify::SpinBudget::kAdaptive;
    heap::CommitOptions commit;  // limit and delay of the client's half of the heap
    transport::Preparation preparation;
};

/// Counters of what is rare. They order nothing.
struct ClientStats {
    std::atomic<std::uint64_t> implicit_copies{0};
    std::atomic<std::uint64_t> implicit_copy_bytes{0};
    std::atomic<std::uint64_t> rings{0};
    std::atomic<std::uint64_t> sleeps{0};
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
    /// What comes after kPosted. Errors: those of call().
    base::Status finish_plain(const Registered& function, void* const* arguments, void* result);

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
    [[nodiscard]] base::Status usable_here() const;
    [[nodiscard]] const ClientStats& stats() const { return stats_; }
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
    base::Result<std::uint32_t> resolve(const Registered& function, base::Deadline deadline);
    base::Result<std::uint32_t> ask_for(const Function& function, base::Deadline deadline);
    base::Status exchange(Exchange& call);
    base::Status post(Exchange& call, LanePool::Use& use);
    base::Result<Slot> reserve(const Exchange& call, LanePool::Use& use);
    using ReplyWord = layout::SharedWord<std::uint64_t>;
    bool await(const ReplyWord& word, std::uint64_t sequence, base::Deadline deadline, notify::SpinBudget& budget);
    bool sleep(const ReplyWord& word, std::uint64_t sequence, base::Deadline deadline, notify::SpinBudget& budget);
    static ClientLane* usual_lane(const vmrpc_connection& connection) noexcept;
    Plain exchange_plain(ClientLane& lane, std::uint32_t index, std::uint64_t sizes) noexcept;
    [[nodiscard]] const layout::RingMe& server_ring_me() const {
        return control().ring_me[index_of(layout::Side::kServer)];
    }
    void ring_if_asleep(ClientLane& lane);
    void judge_spinning(ClientLane& lane);
    base::Status finish(Exchange& call, LanePool::Use& use);
    base::Status take_reply(Exchange& call, const ClientLane& lane);
    void outlast_server(const Exchange& call, const ClientLane& lane) const;
    base::Status give_up(Exchange& call, LanePool::Use& use);
    void sweep(ClientLane& lane);

    std::unique_ptr<Events> events_;
    std::unique_ptr<transport::ClientLink> link_;
    std::unique_ptr<RemotePages> pages_;  // where the link has none
    std::shared_ptr<LanePool> lanes_;
    notify::Waiters waiters_;
    bool lends_stack_;
    std::uint32_t process_generation_;
    /// The server's end was reported: it writes nothing any more. Release when it is, acquire before its memory is used
    /// for something else.
    std::atomic<bool> server_is_gone_{false};
    /// known_word() of each function of this process that was resolved, else 0. By Registered::id. Relaxed: an index
    /// means nothing but itself.
    std::vector<std::atomic<std::uint64_t>> known_;
    ClientStats stats_;
};

}  // namespace vmrpc::call
