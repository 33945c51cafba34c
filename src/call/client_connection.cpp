#include "call/client_connection.hpp"

#include "base/cpu.hpp"
#include "call/client_wait.hpp"
#include "call/resolve.hpp"
#include "notify/fork_guard.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace vmrpc::call {

using base::Deadline;
using base::Status;

namespace {

/// Whether the server runs functions on its client's RPC stack.
Status check_borrowing(const layout::RegionPlan& plan) {
    if ((plan.flags & layout::kRegionHugetlb) != 0)
        return base::fail(VMRPC_NOT_SUPPORTED,
                          "borrow_stack cannot be in memory of the system's pool of huge pages, where no RPC stack can "
                          "have a guard: do without huge_pages on both sides, or choose transparent ones");
    if ((plan.flags & layout::kRegionTrusted) == 0)
        return base::fail(VMRPC_NOT_PERMITTED,
                          "borrow_stack lets each side change the other's control flow, and the server does not trust "
                          "this client: set trust_peer on both sides");
    if ((plan.flags & layout::kRegionBorrows) == 0)
        return base::fail(VMRPC_NOT_PERMITTED,
                          "the server does not run functions on its clients' RPC stacks: set borrow_stack there too");
    if (plan.agreed_address == 0)
        return base::fail(VMRPC_NOT_SUPPORTED,
                          "borrow_stack needs the memory at one address on both sides, and there is none that is free "
                          "on both");
    return {};
}

/// Over a VM's device the memory is what the server has made of it before anybody wished something.
Status check_huge_pages(const layout::RegionPlan& plan, vmrpc_huge_pages wished) {
    if (const std::uint32_t flag = transport::region_flag_of(wished); (plan.flags & flag) == flag) return {};
    return base::fail(VMRPC_NOT_SUPPORTED,
                      fmt::format("the server's memory is not of the huge pages wished (huge_pages = {}): set the same "
                                  "on the server, or do without",
                                  static_cast<int>(wished)));
}

}  // namespace

/// One call on its way.
struct ClientConnection::Exchange {
    const Function& function;
    std::uint32_t index;  // the server's
    Deadline deadline;
    void* const* arguments;
    void* result;
    CopiesIn copies;
    Slot slot{};
    const std::byte* lent = nullptr;  // the function runs on this thread's RPC stack, below that
};

base::Result<std::unique_ptr<ClientConnection>> ClientConnection::connect(const ClientOptions& options) {
    constexpr std::int64_t kDefaultTimeoutNs = 5'000'000'000;
    auto events = std::make_unique<Events>();
    auto link =
        transport::connect({.address = options.address,
                            .wishes = options.wishes,
                            .deadline = Deadline::in(options.timeout_ns > 0 ? options.timeout_ns : kDefaultTimeoutNs)},
                           *events);
    VMRPC_TRY(link);
    VMRPC_TRY(check_huge_pages((*link)->plan(), options.wishes.huge_pages));
    if (options.wishes.borrow_stack) VMRPC_TRY(check_borrowing((*link)->plan()));
    const bool asks_for_memory = (*link)->pages() == nullptr;
    if (asks_for_memory && (*link)->plan().lane_count < RemotePages::kLeastLanes)
        return base::fail(VMRPC_POISONED, fmt::format("the server gives {} lane, and a client in a VM needs {}: one is "
                                                      "for its requests for memory",
                                                      (*link)->plan().lane_count, RemotePages::kLeastLanes));
    std::unique_ptr<ClientConnection> made(new ClientConnection(
        std::move(events), *std::move(link), options, asks_for_memory ? std::make_unique<RemotePages>() : nullptr));
    VMRPC_TRY(made->prepare_heap(*made->link_, options.preparation));
    return made;
}

ClientConnection::ClientConnection(std::unique_ptr<Events> events, std::unique_ptr<transport::ClientLink> link,
                                   const ClientOptions& options, std::unique_ptr<RemotePages> pages)
    : Endpoint(*link, layout::Side::kClient, options.commit, pages.get()),
      events_(std::move(events)),
      link_(std::move(link)),
      pages_(std::move(pages)),
      lanes_(std::make_shared<LanePool>(*this, options.spin_ns, pages_ == nullptr ? 0 : RemotePages::kLane + 1)),
      waiters_(*link_, control().ring_me[index_of(layout::Side::kClient)],
               control().rung[index_of(layout::Side::kClient)]),
      lends_stack_(options.wishes.borrow_stack),
      default_limit_ns_(options.default_limit_ns),
      spin_ns_(options.spin_ns),
      process_generation_(notify::process_generation()),
      address_(options.address) {
    caller_ = {.connection_number = plan().connection,
               .uid = 0,
               .gid = 0,
               .pid = 0,
               .vm = 0,
               .trusted = 1,
               .connection = this,
               .state = &no_state_};
    control().client.only_cpu.store_relaxed(base::only_cpu());
    if (pages_ != nullptr) pages_->attach(*this, waiters_, options.spin_ns);
    // The short ways do not ask on which stack they are, and know no limits.
    if (!lends_stack_ && default_limit_ns_ == 0) open(lanes_->serial());
    events_->attach(*this);
}

ClientConnection::~ClientConnection() {
    stop_trimming();
    close_pending();
    if (!usable_here()) {
        // The parent's connection: its memory is not mapped here, its descriptors are closed.
        std::ignore = link_.release();
        return;
    }
    // release: nothing that this side did to the region comes after it
    control().client.state.store_release(static_cast<std::uint32_t>(layout::RegionState::kClosed));
    lanes_->unguard();
    link_.reset();
}

Status ClientConnection::usable_here() const {
    if (is_of_this_process()) [[likely]]
        return {};
    return base::fail(VMRPC_CLOSED, "the connection belongs to the process that forked this one: connect anew");
}

Status ClientConnection::call(const Registered& function, std::int64_t limit_ns, void* const* arguments, void* result) {
    return call_by(function, limit_ns, arguments, result, nullptr);
}

Status ClientConnection::call_lending(const Registered& function, void* const* arguments, void* result,
                                      const std::byte* lent) {
    return call_by(function, 0, arguments, result, lent);
}

Status ClientConnection::call_by(const Registered& function, std::int64_t limit_ns, void* const* arguments,
                                 void* result, const std::byte* lent) {
    VMRPC_TRY(usable_here());
    const Deadline deadline = Deadline::in(limit_ns);
    const auto index = server_index(function, deadline);
    VMRPC_TRY(index);
    Exchange call{*function.function, *index, deadline, arguments, result, CopiesIn(*this), {}, lent};
    Sample timed = sample(function);
    Status status = exchange(call);
    timed.end(own_lane());
    if (!status) functions_.count_failure(*function.function, status.error().status);
    return status;
}

Status ClientConnection::finish_plain(const Registered& function, void* const* arguments, void* result) {
    LanePool::Use use = lanes_->use();
    Exchange call{*function.function, 0, {}, arguments, result, CopiesIn(*this), use.lane.reserve_posted()};
    ring_if_asleep(use.lane);
    std::ignore = drain();  // a violation ends the connection
    judge_spinning(use.lane);
    const bool answered = await(use.lane.answered(call.slot), {}, use.lane.spin(), lanes_served_with(use.lane));
    Status status = answered ? finish(call, use) : give_up(call, use);
    if (!status) functions_.count_failure(*function.function, status.error().status);
    return status;
}

Status ClientConnection::require(const Registered& function) {
    VMRPC_TRY(usable_here());
    auto resolved = resolve(function, {});
    VMRPC_TRY(resolved);
    return {};
}

base::Result<std::uint32_t> ClientConnection::server_index(const Registered& function, Deadline deadline) {
    if (const auto index = index_of_known(functions_.known(function.id))) [[likely]]
        return *index;
    return resolve(function, deadline);
}

base::Result<std::uint32_t> ClientConnection::resolve(const Registered& function, Deadline deadline) {
    auto index = ask_for(*function.function, deadline);
    VMRPC_TRY(index);
    if (*index >= UINT32_MAX)
        return base::fail(VMRPC_POISONED,
                          fmt::format("the server gave {} the impossible index {}", function.function->name(), *index));
    functions_.add(function, *index);
    return index;
}

base::Result<std::uint32_t> ClientConnection::ask_for(const Function& function, Deadline deadline) {
    ResolveRequest request{};
    request.fingerprint = fingerprint(function.signature());
    put_signature(request, function.signature());
    ResolveReply reply{};
    void* const arguments[] = {&request};
    Exchange call{
        resolve_function(), static_cast<std::uint32_t>(layout::ReservedFunction::kResolve), deadline, arguments, &reply,
        CopiesIn(*this)};
    VMRPC_TRY(exchange(call));
    switch (reply.status) {
        case VMRPC_OK:
            return reply.index;
        case VMRPC_SIGNATURE_MISMATCH:
            return base::fail(
                VMRPC_SIGNATURE_MISMATCH,
                fmt::format("{} differs: the client has {}, the server {}; build both from one declaration",
                            function.name(), function.signature(), get_signature(reply)));
        default:
            return base::fail(VMRPC_UNKNOWN_FUNCTION,
                              fmt::format("the server has no function {}: add it there before run(), or check the name",
                                          function.name()));
    }
}

Status ClientConnection::exchange(Exchange& call) {
    VMRPC_TRY(usable());
    if (call.result == nullptr && call.function.result().category != VMRPC_IMPL_NONE)
        return base::fail(VMRPC_BAD_ARGUMENT,
                          fmt::format("{} has a result, and there is no place for it", call.function.name()));
    LanePool::Use use = lanes_->use();
    if (has_remote_frees()) VMRPC_TRY(drain());
    VMRPC_TRY(post(call, use));
    ring_if_asleep(use.lane);
    // On the shared lane each call has a budget of its own: others wait there at the same time.
    notify::SpinBudget shared_budget = use.lane.spin();
    notify::SpinBudget& budget = use.is_shared() ? shared_budget : use.lane.spin();
    if (use.is_shared())
        use.lock.unlock();
    else
        judge_spinning(use.lane);
    const bool answered = await(use.lane.answered(call.slot), call.deadline, budget, lanes_served_with(use.lane));
    if (!answered && (call.lent != nullptr || arguments_reach_stack(*this, call.function, call.arguments)))
        outlast_server(call, use.lane);
    if (use.is_shared()) use.lock.lock();
    return answered ? finish(call, use) : give_up(call, use);
}

Status ClientConnection::post(Exchange& call, LanePool::Use& use) {
    const auto depth = depth_here();
    VMRPC_TRY(depth);
    auto slot = reserve(call, use);
    VMRPC_TRY(slot);
    call.slot = *slot;
    if (auto encoded = encode_arguments(*this, call.function, call.arguments, slot->arguments, &call.copies);
        !encoded) {
        use.lane.release(*slot);
        return encoded;
    }
    count_copies(call.copies);
    use.lane.post(*slot, call.index, call.function.request_bytes(), call.function.result_bytes(),
                  remaining_word(call.deadline), *depth);
    // What lies on a stack goes when the call returns, and must not while the server may read or write it.
    if (!call.deadline.is_never() && arguments_reach_stack(*this, call.function, call.arguments)) call.deadline = {};
    return {};
}

void ClientConnection::count_copies(const CopiesIn& copies) {
    if (copies.count() == 0) return;
    stats_.implicit_copies.fetch_add(copies.count(), std::memory_order_relaxed);
    stats_.implicit_copy_bytes.fetch_add(copies.bytes(), std::memory_order_relaxed);
}

// A thread with its own lane has a free slot, unless calls given up hold too many; on the shared lane it may have to
// wait for another thread's.
base::Result<Slot> ClientConnection::reserve(const Exchange& call, LanePool::Use& use) {
    if (use.lane.has_to_sweep()) sweep(use.lane);
    for (;;) {
        auto slot = use.lane.reserve(call.function.request_bytes(), call.function.result_bytes(), call.lent);
        const bool can_wait = use.is_shared() && !slot && slot.error().status == VMRPC_BUSY &&
                              use.lane.abandoned_count() < layout::kReplySlots / 2;
        if (!can_wait) return slot;
        if (!lanes_->wait_for_slot(use, call.deadline))
            return base::fail(VMRPC_TIMED_OUT,
                              "no reply slot became free within the time limit: more threads call at once "
                              "than the connection has lanes; raise max_lanes or the limit");
        VMRPC_TRY(usable());
    }
}

void ClientConnection::ring_if_asleep(ClientLane& lane) {
    if (!must_ring(server_ring_me(), lane.ring_seen())) return;
    stats_.rings.fetch_add(1, std::memory_order_relaxed);
    ring_peer();
}

// No spinning where the server's thread can only run on the one CPU that this thread can run on.
void ClientConnection::judge_spinning(ClientLane& lane) {
    const auto poller = control().server.poller_cpu.load_relaxed();
    if (poller == lane.judged_cpu()) return;
    lane.judged_cpu() = poller;
    if (poller >= 0 && base::only_cpu() == poller) lane.spin().forbid();
}

Status ClientConnection::finish(Exchange& call, LanePool::Use& use) {
    Status status = take_reply(call.function, call.slot, use.lane, call.arguments, call.result);
    if (status) call.copies.copy_back();
    use.lane.release(call.slot);
    if (use.is_shared()) lanes_->slot_freed();
    return status;
}

Status ClientConnection::take_reply(const Function& function, const Slot& slot, const ClientLane& lane,
                                    void* const* arguments, void* result) {
    const layout::ReplyBody reply = lane.reply(slot);
    if (reply.status > kLastStatus)
        return poisoned_by_reply(
            fmt::format("the server answered {} with the impossible status {}", function.name(), reply.status));
    if (reply.status != VMRPC_OK)
        return base::fail(static_cast<vmrpc_status>(reply.status), lane.error_text(slot, reply.result_bytes));
    if (reply.result_bytes != function.result_bytes())
        return poisoned_by_reply(fmt::format("the server answered {} with {} bytes of results instead of {}",
                                             function.name(), reply.result_bytes, function.result_bytes()));
    const auto* inline_result = reinterpret_cast<const std::byte*>(reply.inline_result.data());
    return decode_results(*this, function, slot.results != nullptr ? slot.results : inline_result, arguments, result);
}

Status ClientConnection::poisoned_by_reply(std::string text) {
    base::Error error{VMRPC_POISONED, std::move(text)};
    end(error);
    return tl::unexpected<base::Error>(std::move(error));
}

Status ClientConnection::give_up(Exchange& call, LanePool::Use& use) {
    Status reason = usable();
    if (reason)
        reason = base::fail(VMRPC_TIMED_OUT,
                            fmt::format("{} has not answered within the time limit; it may still run in the server",
                                        call.function.name()));
    const bool returns_block = call.function.result().category == VMRPC_IMPL_BLOCK;
    use.lane.abandon(call.slot, {.blocks = call.copies.take(), .result_is_block = returns_block});
    lanes_->count_abandoned(1);
    post_cancel(use.lane, call.slot.sequence);
    return reason;
}

void ClientConnection::post_cancel(ClientLane& lane, std::uint64_t sequence) {
    if (is_over()) return;
    lane.post_cancel(sequence);
    ring_if_asleep(lane);
}

// After this side has ended the connection: the server answers, or ends. Rare, and nothing will ring.
void ClientConnection::outlast_server(const Exchange& call, const ClientLane& lane) const {
    constexpr unsigned look_us = 1000;
    // acquire: pairs with the release in server_lost(), or with the server's of the reply
    while (!server_is_gone_.load(std::memory_order_acquire) && !lane.answered(call.slot)()) ::usleep(look_us);
}

}  // namespace vmrpc::call
