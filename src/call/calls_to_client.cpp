#include "call/calls_to_client.hpp"

#include "call/client_frame.hpp"
#include "call/resolve.hpp"
#include "call/server_connection.hpp"
#include "notify/futex.hpp"
#include "stack/switch.hpp"

#include <fmt/format.h>

#include <sys/epoll.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace vmrpc::call {

using base::Deadline;
using base::Status;

namespace {

/// Of functions on a thread's stack. What is before a nested call on its lane is executed in between.
constexpr std::uint32_t kMostLevels = 2 * layout::kMostCallDepth;

/// Who waits looks around so often: what is rare wakes nobody.
constexpr std::int64_t kLookNs = 10'000'000;
constexpr int kLookMs = 10;

/// The earlier of both.
Deadline earlier(Deadline one, Deadline other) {
    return Deadline::at(std::min(one.at_ns(), other.at_ns()));
}

/// How many calls run on this thread, one in the other, of all connections.
std::uint32_t levels_here() {
    std::uint32_t levels = 0;
    for (const RunningCall* call = RunningCall::current(); call != nullptr; call = call->outer()) ++levels;
    return levels;
}

/// Sleeps until the client rings. For one wait of the serving thread.
class RingWatch {
  public:
    explicit RingWatch(int ring_descriptor) : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
        epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.ptr = nullptr}};
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, ring_descriptor, &event);
    }
    /// Without descriptors that is a pause.
    void wait(int limit_ms) const {
        epoll_event event{};
        if (::epoll_wait(epoll_.get(), &event, 1, limit_ms) < 0 && !epoll_.valid()) ::usleep(1000);
    }

  private:
    base::Fd epoll_;
};

}  // namespace

struct CallsToClient::Exchange {
    const Function& function;
    std::uint32_t index;  // the client's
    Deadline deadline;
    RunningCall* within;  // the client's call that this one is made in, or nullptr
    std::uint32_t lane_number;
    std::uint32_t depth;
    void* const* arguments;
    void* result;
    CopiesIn copies;
    std::uint32_t slot = 0;
    std::uint64_t sequence = 0;
    CallbackRequests* lane = nullptr;
    std::byte* frame = nullptr;    // a block of the heap, for what does not fit into the lines
    std::byte* results = nullptr;  // in it
};

CallsToClient::CallsToClient(ServerConnection& connection)
    : connection_(connection), lanes_(connection.plan().lane_count) {
    // relaxed: the requests order themselves; see CallsFromServer::pending()
    connection.control().server.calls_back.store_relaxed(1);
}

Status CallsToClient::call(const Registered& function, std::int64_t limit_ns, void* const* arguments, void* result) {
    VMRPC_TRY(connection_.usable());
    const Function& called = *function.function;
    if (result == nullptr && called.result().category != VMRPC_IMPL_NONE)
        return base::fail(VMRPC_BAD_ARGUMENT,
                          fmt::format("{} has a result, and there is no place for it", called.name()));
    if (stack::is_on(&connection_))
        return base::fail(VMRPC_NOT_SUPPORTED,
                          fmt::format("{} cannot be called by a function that runs on its caller's RPC stack, which "
                                      "the client's functions would run on as well: do without borrow_stack",
                                      called.name()));
    RunningCall* const current = RunningCall::current();
    RunningCall* const within =
        current != nullptr && current->endpoint() == &connection_ && current->lane != nullptr ? current : nullptr;
    const std::uint32_t depth = within == nullptr ? 1 : within->depth + 1;
    if (depth > layout::kMostCallDepth || levels_here() > kMostLevels)
        return base::fail(VMRPC_NESTED_TOO_DEEP,
                          fmt::format("{} would be the {}th of calls and calls back nested in each other, {} levels "
                                      "down on its thread; {} and {} are allowed: end some before",
                                      called.name(), depth, levels_here(), layout::kMostCallDepth, kMostLevels));
    // On the short way the request is still on its lane, where others are to be served meanwhile.
    if (within != nullptr && std::exchange(within->untaken, false)) within->lane_sequence = within->lane->take_early();
    const Deadline own = Deadline::in(limit_ns);
    Exchange call{called,
                  0,
                  within == nullptr ? own : earlier(own, within->deadline),
                  within,
                  within == nullptr ? connection_.plan().lane_count - 1 : within->lane->number(),
                  depth,
                  arguments,
                  result,
                  CopiesIn(connection_)};
    const auto index = index_of(function, call);
    VMRPC_TRY(index);
    call.index = *index;
    return exchange(call);
}

base::Result<std::uint32_t> CallsToClient::index_of(const Registered& function, Exchange& like) {
    {
        const std::scoped_lock lock(mutex_);
        if (const auto found = known_.find(function.id); found != known_.end()) return found->second;
    }
    ResolveRequest request{};
    request.fingerprint = fingerprint(function.function->signature());
    put_signature(request, function.function->signature());
    ResolveReply reply{};
    void* const arguments[] = {&request};
    Exchange call{resolve_function(),
                  static_cast<std::uint32_t>(layout::ReservedFunction::kResolve),
                  like.deadline,
                  like.within,
                  like.lane_number,
                  like.depth,
                  arguments,
                  &reply,
                  CopiesIn(connection_)};
    VMRPC_TRY(exchange(call));
    if (reply.status == VMRPC_SIGNATURE_MISMATCH)
        return base::fail(VMRPC_SIGNATURE_MISMATCH,
                          fmt::format("{} differs: the server has {}, the client {}; build both from one declaration",
                                      function.function->name(), function.function->signature(), get_signature(reply)));
    if (reply.status != VMRPC_OK)
        return base::fail(VMRPC_UNKNOWN_FUNCTION,
                          fmt::format("the client has no function {}: it is to add it to its connection before the "
                                      "server calls it",
                                      function.function->name()));
    const std::scoped_lock lock(mutex_);
    known_[function.id] = reply.index;
    return reply.index;
}

Status CallsToClient::exchange(Exchange& call) {
    if (connection_.has_remote_frees()) VMRPC_TRY(connection_.drain());
    VMRPC_TRY(post(call));
    connection_.ring_from_any_thread();
    const bool is_answered = wait(call);
    in_flight_.fetch_sub(1, std::memory_order_relaxed);
    return is_answered ? finish(call) : give_up(call);
}

Status CallsToClient::post(Exchange& call) {
    VMRPC_TRY(place_frame(call));
    layout::RequestBody body{};
    body.function = call.index;
    body.depth = static_cast<std::uint8_t>(call.depth);
    body.frame_bytes = call.function.request_bytes();
    body.result_bytes = call.function.result_bytes();
    const bool is_inline = stacked_request_bytes(body.frame_bytes) == 0;
    std::byte* const to = is_inline ? reinterpret_cast<std::byte*>(body.inline_arguments.data()) : call.frame;
    Status placed = encode_arguments(connection_, call.function, call.arguments, to, &call.copies);
    if (placed) {
        if (call.frame != nullptr) body.frame_offset = connection_.to_wire(call.frame, 1).value_or(0);
        if (!call.deadline.is_never()) {
            body.flags = layout::kRequestTimed;
            body.remaining_ns = static_cast<std::uint64_t>(call.deadline.remaining_ns());
        }
        const std::scoped_lock lock(mutex_);
        call.lane = &lane(call.lane_number);
        sweep(*call.lane);
        if (const auto slot = call.lane->reserve()) {
            call.slot = *slot;
            call.sequence = call.lane->post(*slot, body);
            in_flight_.fetch_add(1, std::memory_order_relaxed);
            return {};
        }
        placed = base::fail(VMRPC_BUSY, fmt::format("{} calls back are on their way to the thread of the client that "
                                                    "is to execute {}: retry when it has answered some",
                                                    layout::kReplySlots, call.function.name()));
    }
    if (call.frame != nullptr) std::ignore = connection_.release(call.frame);
    return placed;
}

Status CallsToClient::place_frame(Exchange& call) const {
    const std::uint64_t request_bytes = stacked_request_bytes(call.function.request_bytes());
    const std::uint64_t result_bytes = stacked_result_bytes(call.function.result_bytes());
    if (request_bytes + result_bytes == 0) return {};
    const auto block = connection_.heap().allocate(request_bytes + result_bytes, {.alignment = kFrameAlignment});
    VMRPC_TRY(block);
    call.frame = static_cast<std::byte*>(*block);
    if (result_bytes != 0) call.results = call.frame + request_bytes;
    return {};
}

/// Whether there is nothing to wait for any more, but the deadline.
bool CallsToClient::is_settled(const Exchange& call) const {
    return call.lane->is_answered(call.slot, call.sequence) || connection_.is_over() || connection_.is_deserted() ||
           (call.within != nullptr && call.within->cancel_came());
}

/// Returns whether the reply is there.
bool CallsToClient::wait(const Exchange& call) {
    if (connection_.is_serving_here()) return wait_serving(call);
    notify::SpinBudget budget;
    if (notify::spin(budget, call.deadline, [&] { return is_settled(call); }))
        return call.lane->is_answered(call.slot, call.sequence);
    return sleep(call);
}

bool CallsToClient::wait_serving(const Exchange& call) {
    std::unique_ptr<RingWatch> ring;
    for (;;) {
        const auto look = [&] { return is_settled(call) || connection_.serve_nested() != 0; };
        if (notify::spin(serving_budget_, call.deadline, look)) serving_budget_.gained();
        if (is_settled(call) || call.deadline.passed()) return call.lane->is_answered(call.slot, call.sequence);
        if (ring == nullptr) ring = std::make_unique<RingWatch>(connection_.link().ring_descriptor());
        const std::int64_t start_ns = base::now_ns();
        connection_.arm();
        // Arm, then look: pairs with the client's fence in must_ring(), so that either it rings or we see what it
        // wrote.
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (is_settled(call) || connection_.has_nested()) continue;
        const int left_ms = call.deadline.remaining_ms();
        ring->wait(left_ms < 0 ? kLookMs : std::min(left_ms, kLookMs));
        serving_budget_.slept(base::now_ns() - start_ns + serving_budget_.budget_ns());
    }
}

/// On a thread that serves no connections: the one that does is woken by the client, and wakes this one.
bool CallsToClient::sleep(const Exchange& call) {
    Sleeping sleeping{*call.lane, call.slot, call.sequence};
    {
        const std::scoped_lock lock(mutex_);
        sleeping_.push_back(&sleeping);
    }
    sleeping_count_.fetch_add(1, std::memory_order_seq_cst);
    for (;;) {
        // acquire: pairs with the release in wake_answered(), and comes before the look so that no wake-up falls
        // between
        const std::uint32_t signal = sleeping.signal.load(std::memory_order_acquire);
        if (is_settled(call) || call.deadline.passed()) break;
        notify::futex_wait(&sleeping.signal, signal, earlier(call.deadline, Deadline::in(kLookNs)),
                           notify::FutexScope::kPrivate);
    }
    sleeping_count_.fetch_sub(1, std::memory_order_relaxed);
    const std::scoped_lock lock(mutex_);
    sleeping_.remove(&sleeping);
    return sleeping.is_answered();
}

bool CallsToClient::has_answered() const {
    if (sleeping_count_.load(std::memory_order_relaxed) == 0) return false;
    const std::scoped_lock lock(mutex_);
    return std::any_of(sleeping_.begin(), sleeping_.end(), [](const Sleeping* each) { return each->is_answered(); });
}

void CallsToClient::wake_answered() {
    if (sleeping_count_.load(std::memory_order_relaxed) == 0) return;
    const std::scoped_lock lock(mutex_);
    for (Sleeping* each : sleeping_) {
        if (!each->is_answered()) continue;
        each->signal.fetch_add(1, std::memory_order_release);
        notify::futex_wake_all(&each->signal, notify::FutexScope::kPrivate);
    }
}

Status CallsToClient::finish(Exchange& call) {
    Status status = take_reply(call);
    if (status) call.copies.copy_back();
    {
        const std::scoped_lock lock(mutex_);
        call.lane->release(call.slot);
    }
    if (call.frame != nullptr) std::ignore = connection_.release(call.frame);
    return status;
}

// The client may be anybody: what it wrote is read once, and checked.
Status CallsToClient::take_reply(Exchange& call) {
    const layout::ReplyBody reply = call.lane->reply(call.slot);
    if (reply.status > kLastStatus)
        return poisoned(
            fmt::format("the client answered {} with the impossible status {}", call.function.name(), reply.status));
    if (reply.status != VMRPC_OK)
        return base::fail(static_cast<vmrpc_status>(reply.status),
                          call.lane->error_text(call.slot, reply.result_bytes));
    if (reply.result_bytes != call.function.result_bytes())
        return poisoned(fmt::format("the client answered {} with {} bytes of results instead of {}",
                                    call.function.name(), reply.result_bytes, call.function.result_bytes()));
    const auto* const inline_result = reinterpret_cast<const std::byte*>(reply.inline_result.data());
    Status taken = decode_results(connection_, call.function, call.results != nullptr ? call.results : inline_result,
                                  call.arguments, call.result);
    if (!taken && taken.error().status == VMRPC_POISONED) return poisoned(taken.error().text);
    if (taken && call.function.result().category == VMRPC_IMPL_BLOCK) {
        vmrpc_impl_span block{};
        std::memcpy(&block, call.result, sizeof block);
        if (!connection_.may_own(block.data))
            return poisoned(
                fmt::format("the client answered {} with a block at {}, which lies in the server's half of "
                            "the heap",
                            call.function.name(), block.data));
    }
    return taken;
}

Status CallsToClient::poisoned(std::string text) {
    base::Error error{VMRPC_POISONED, std::move(text)};
    connection_.end(error);
    return tl::unexpected<base::Error>(std::move(error));
}

Status CallsToClient::give_up(Exchange& call) {
    Status reason = connection_.usable();
    const std::string_view name = call.function.name();
    if (reason && connection_.is_deserted())
        reason = base::fail(VMRPC_PEER_LOST, fmt::format("the client has gone before it answered {}", name));
    else if (reason && call.within != nullptr && call.within->cancel_came())
        reason = base::fail(VMRPC_CANCELLED, fmt::format("the call that calls {} back was cancelled", name));
    else if (reason)
        reason = base::fail(VMRPC_TIMED_OUT,
                            fmt::format("the client has not answered {} within the time limit: a thread of it is to "
                                        "wait for the call that calls back, or to serve",
                                        name));
    std::vector<void*> blocks = call.copies.take();
    if (call.frame != nullptr) blocks.push_back(call.frame);
    const bool returns_block = call.function.result().category == VMRPC_IMPL_BLOCK;
    const std::scoped_lock lock(mutex_);
    call.lane->abandon(call.slot, call.sequence, {std::move(blocks), returns_block, call.results});
    return reason;
}

/// Requires mutex_.
CallbackRequests& CallsToClient::lane(std::uint32_t number) {
    if (lanes_[number] == nullptr) lanes_[number] = std::make_unique<CallbackRequests>(connection_.lane(number));
    return *lanes_[number];
}

/// Requires mutex_.
void CallsToClient::sweep(CallbackRequests& lane) {
    struct Free {  // blocks of ours by address, those of late replies as the client wrote them
        ServerConnection& connection;
        void operator()(void* block) const { std::ignore = connection.release(block); }
        void operator()(layout::WireOffset block) const {
            if (block == 0) return;
            void* const place = connection.from_wire(block, 1, 1);
            if (place != nullptr && connection.may_own(place)) std::ignore = connection.release(place);
        }
    };
    lane.sweep(Free{connection_});
}

}  // namespace vmrpc::call
