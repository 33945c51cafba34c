#include "call/server_connection.hpp"

#include "base/clock.hpp"
#include "base/log.hpp"
#include "call/pages_calls.hpp"
#include "call/run_function.hpp"
#include "heap/size_class.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

namespace vmrpc::call {

[[gnu::tls_model("initial-exec")]] constinit thread_local RunningCall* RunningCall::current_call = nullptr;

bool RunningCall::is_in_vain() const {
    if (cancel_came() || deadline.passed() || endpoint_->is_over()) return true;
    return endpoint_->side() == layout::Side::kServer && static_cast<ServerConnection*>(endpoint_)->is_deserted();
}

ServerConnection* ServerConnection::current() {
    Endpoint* const endpoint = RunningCall::current_endpoint();
    const bool is_server = endpoint != nullptr && endpoint->side() == layout::Side::kServer;
    return is_server ? static_cast<ServerConnection*>(endpoint) : nullptr;
}

ServerConnection::ServerConnection(std::unique_ptr<transport::ServerLink> link, const Options& options)
    : Endpoint(*link, layout::Side::kServer, options.commit),
      link_(std::move(link)),
      calls_per_turn_(options.calls_per_turn),
      pool_(options.pool),
      serving_(options.serving),
      callback_limit_ns_(options.callback_limit_ns) {
    lanes_.reserve(plan().lane_count);  // they stay where they are made
    const transport::Peer& peer = link_->peer();
    caller_ = {.connection_number = plan().connection,
               .uid = peer.uid,
               .gid = peer.gid,
               .pid = peer.pid,
               .vm = peer.vm,
               .trusted = trusted() ? 1 : 0,
               .connection = this,
               .state = &state_};
}

ServerConnection::~ServerConnection() {
    stop_trimming();
    delete calls_to_client();
    for (ServerLane& each : lanes_) each.execution_stack().unguard();
}

std::uint32_t ServerConnection::lanes_in_use() {
    // relaxed: a request on a new lane orders itself
    const std::uint32_t wanted = control().client.lanes_in_use.load_relaxed();
    if (wanted > lanes_.size()) [[unlikely]]
        make_lanes(wanted);
    return std::min(wanted, static_cast<std::uint32_t>(lanes_.size()));
}

/// As many of them as the client uses, or as there are. Most clients use few: until then the room reserved for the
/// others is no memory yet.
[[gnu::noinline]] void ServerConnection::make_lanes(std::uint32_t wanted) {
    const bool borrows = (plan().flags & layout::kRegionBorrows) != 0 && plan().agreed_address != 0;
    const std::uint32_t count = std::min(wanted, plan().lane_count);
    for (auto i = static_cast<std::uint32_t>(lanes_.size()); i < count; ++i)
        lanes_.emplace_back(lane(i), i, segment(), layout::Extent{plan().stack_offset(i), plan().stack_bytes}, borrows,
                            plan().connection);
}

// Does what serve_any() does, less what a plain function does not need. False, with nothing done, if the request is not
// one for it, or one that needs an error. Every instruction before the reply counts.
[[gnu::always_inline]] inline bool ServerConnection::serve_plain(ServerLane& lane, const FunctionTable& functions,
                                                                 ServerFrame& frame) {
    if (!lane.has_next() || is_over() || lane.slots_in_pool() != 0) return false;
    const PlainHead request = lane.plain_head();
    const FunctionTable::Entry* const entry = functions.find_plain(function_of(request.target), request.sizes);
    if (entry == nullptr || !is_plain_target(request.target)) return false;
    lane.probe_next(entry->index);
    const Function& function = *entry->function;
    const bool has_values = request.sizes != 0;
    if (has_values) {
        lane.copy_inline_arguments(frame.request());
        frame.point_to_values(function);
    }
    const std::uint32_t slot = slot_of(request.target);
    const bool is_timed = entry->counters->is_timed();
    const std::int64_t start_ns = is_timed ? base::now_ns() : 0;
    RunningCall& call = *here_;
    call.lane = &lane;
    call.untaken = true;
    const vmrpc_status status = run_function(call, *entry, frame.arguments(), frame.result());
    if (is_timed) [[unlikely]]
        entry->counters->duration_ns.count(static_cast<std::uint64_t>(base::now_ns() - start_ns));
    if (!call.untaken) [[unlikely]] {  // it has called the client, which may have called us
        answer_early(lane, slot, *entry, frame, status);
        return true;
    }
    if (status != VMRPC_OK) [[unlikely]] {
        lane.reply_error(slot, entry->index, status, call.failure);
        count_plain(*entry, true);
        return true;
    }
    if (has_values) frame.put_values(function, lane.plain_results(slot));
    lane.reply_plain(slot, request.sizes, entry->index);
    count_plain(*entry, false);
    return true;
}

// After the reply: the client does not wait for it. Always the serving thread: workers' functions are not plain.
inline void ServerConnection::count_plain(const FunctionTable::Entry& entry, bool is_error) {
    entry.counters->calls.add_alone();
    counters_.calls.add_alone();
    counters_.bytes.add_alone(entry.function->request_bytes() + entry.function->result_bytes());
    if (is_error) [[unlikely]] {
        entry.counters->errors.add_alone();
        counters_.errors.add_alone();
    }
}

/// A call that was answered on the long way. Any thread. `frame`: what it ran with, if it did.
void ServerConnection::count(const FunctionTable::Entry& entry, vmrpc_status status, const ServerFrame* frame) {
    FunctionCounters& function = *entry.counters;
    const std::uint64_t span_bytes = frame == nullptr ? 0 : frame->span_bytes();
    const std::uint64_t private_spans = frame == nullptr ? 0 : frame->private_spans();
    function.calls.add();
    function.span_bytes.add(span_bytes);
    function.copies.add(private_spans);
    counters_.calls.add();
    counters_.bytes.add(entry.function->request_bytes() + entry.function->result_bytes() + span_bytes);
    counters_.copies.add(private_spans);
    if (status == VMRPC_OK) return;
    function.errors.add();
    counters_.errors.add();
}

// All that comes between a plain request and its reply is inlined here, where the server looks for requests.
std::uint32_t ServerConnection::poll(const FunctionTable& functions, ServerFrame& frame, bool is_alone) {
    std::uint32_t found = 0;
    const std::uint32_t count = lanes_in_use();
    if (is_alone && count == 1) lanes_.front().linger();
    std::uint32_t i = std::exchange(next_lane_, 0);
    for (; i < count; ++i) {
        ServerLane& lane = lanes_[i];
        for (std::uint32_t taken = 0; taken < kRequestsPerLane; ++taken) {
            if (serve_plain(lane, functions, frame))
                ring_if_asleep(lane);
            else if (!lane.pending() || !serve_any(lane, functions, frame, false))
                break;
            if (++found == calls_per_turn_) [[unlikely]] {
                next_lane_ = i + 1;  // the other lanes come first, in the next turn
                i = count;
                break;
            }
        }
    }
    if (found != 0) take_frees();
    if (CallsToClient* const calls = calls_to_client()) calls->wake_answered();
    return found;
}

std::uint32_t ServerConnection::turn_away(const FunctionTable& functions, ServerFrame& frame) {
    std::uint32_t found = 0;
    const std::uint32_t count = lanes_in_use();
    for (std::uint32_t i = 0; i < count; ++i) {
        ServerLane& lane = lanes_[i];
        for (std::uint32_t taken = 0; taken < kRequestsPerLane && lane.pending(); ++taken) {
            if (!serve_any(lane, functions, frame, true)) break;
            ++found;
        }
    }
    if (found != 0) take_frees();
    if (CallsToClient* const calls = calls_to_client()) calls->wake_answered();
    return found;
}

inline void ServerConnection::ring_if_asleep(ServerLane& lane) {
    if (!must_ring(control().ring_me[index_of(layout::Side::kClient)], lane.ring_seen())) return;
    counters_.rings.add();
    ring_peer();
}

inline void ServerConnection::take_frees() {
    if (has_remote_frees()) std::ignore = drain();  // a violation ends us: on_violation()
}

/// False: the connection is over. Rings for what it has answered; not for what a worker will answer.
bool ServerConnection::serve_any(ServerLane& lane, const FunctionTable& functions, ServerFrame& frame,
                                 bool turns_away) {
    if (is_over()) return false;
    const auto request = lane.take();
    if (!request) {
        end(request.error());
        return false;
    }
    const auto entry = functions.find(request->body);
    if (!entry)
        lane.reply_error(*request, entry.error().status, entry.error().text);
    else if (turns_away && request->body.function >= layout::kReservedFunctions && !belongs_to_running(*request))
        turn_away(lane, *request, **entry);
    else if ((*entry)->pooled == nullptr)
        serve_here(lane, *request, **entry, frame);
    else if (hand_to_pool(lane, *request, **entry))
        return true;
    ring_if_asleep(lane);
    return true;
}

void ServerConnection::turn_away(ServerLane& lane, const CheckedRequest& request, const FunctionTable::Entry& entry) {
    lane.reply_error(request, VMRPC_SHUTTING_DOWN, "the server is stopping: try again when it is back");
    count(entry, VMRPC_SHUTTING_DOWN, nullptr);
}

void ServerConnection::serve_here(ServerLane& lane, const CheckedRequest& request, const FunctionTable::Entry& entry,
                                  ServerFrame& frame) {
    RunningCall& call = *here_;
    call.lane = &lane;
    call.lane_sequence = request.sequence;
    call.untaken = false;
    call.depth = request.body.depth;
    call.deadline = request.deadline();
    const base::Status done = execute(call, lane, request, entry, frame);
    const bool is_late = call.deadline.passed();
    call.deadline = {};
    call.depth = 0;
    call.forget_cancel();  // which came while it waited for the client
    if (is_late) entry.counters->deadline_misses.add();
    if (done)
        lane.reply(request, frame.results(), request.body.result_bytes);
    else
        lane.reply_error(request, done.error().status, done.error().text);
    count(entry, done ? VMRPC_OK : done.error().status, &frame);
}

base::Status ServerConnection::execute(RunningCall& call, ServerLane& lane, const CheckedRequest& request,
                                       const FunctionTable::Entry& entry, ServerFrame& frame) {
    const layout::RequestBody& body = request.body;
    if (request.stacked_arguments != nullptr)
        layout::copy_from_peer(frame.request(), request.stacked_arguments, body.frame_bytes);
    else
        std::memcpy(frame.request(), body.inline_arguments.data(), body.inline_arguments.size());  // one size: no loop
    VMRPC_TRY(frame.decode(*this, *entry.function));
    const bool is_timed = entry.counters->is_timed();
    const std::int64_t start_ns = is_timed ? base::now_ns() : 0;
    lane.probe(request);
    const base::Status done = request.lent_stack == nullptr
                                  ? run_here(call, entry, frame)
                                  : run_on_lent_stack(call, lane, request.lent_stack, entry, frame);
    if (is_timed) entry.counters->duration_ns.count(static_cast<std::uint64_t>(base::now_ns() - start_ns));
    VMRPC_TRY(done);
    return frame.encode_results(*this, *entry.function);
}

base::Status ServerConnection::run_here(RunningCall& call, const FunctionTable::Entry& entry, ServerFrame& frame) {
    if (const vmrpc_status status = run_function(call, entry, frame.arguments(), frame.result()); status != VMRPC_OK)
        return base::fail(status, std::exchange(call.failure, {}));
    return {};
}

/// The range is the client's word. Other parts of the segment are this side's, or other clients'.
base::Status ServerConnection::check_pages(layout::Extent range) {
    const layout::Extent arena{plan().arena_offset(layout::Side::kClient), plan().arena_bytes};
    const bool is_part = range.bytes != 0 && range.bytes <= kMostPagesBytes && range.bytes % heap::kSpanBytes == 0 &&
                         range.offset % heap::kSpanBytes == 0 && layout::holds(arena, range.offset, range.bytes);
    if (is_part) return {};
    base::Error error{VMRPC_POISONED,
                      fmt::format("the client asked for memory of {} bytes at {}: not whole spans of its arena of {} "
                                  "bytes at {}, or more than {} at once",
                                  range.bytes, range.offset, arena.bytes, arena.offset, kMostPagesBytes)};
    end(error);
    return tl::unexpected<base::Error>(std::move(error));
}

base::Status ServerConnection::commit_for_client(layout::Extent range) {
    VMRPC_TRY(check_pages(range));
    return link_->pages()->commit(range);
}

base::Status ServerConnection::trim_for_client(layout::Extent range) {
    VMRPC_TRY(check_pages(range));
    link_->pages()->give_back(range, heap::Pages::Wait::kYes);
    return {};
}

void ServerConnection::arm() {
    std::ignore = drain();
    control().ring_me[index_of(layout::Side::kServer)].generation.store_relaxed(++generation_);
}

bool ServerConnection::pending() {
    const std::uint32_t count = lanes_in_use();
    if (std::any_of(lanes_.begin(), lanes_.begin() + count, [](const ServerLane& lane) { return lane.pending(); }))
        return true;
    const CallsToClient* const calls = calls_to_client();
    return calls != nullptr && calls->has_answered();
}

void ServerConnection::hang_up(const base::Error& reason) {
    const bool poisoned = reason.status == VMRPC_POISONED;
    layout::ControlPage& page = control();
    reason.text.copy(page.server_text.data(), page.server_text.size() - 1);
    page.server.status.store_relaxed(static_cast<std::uint32_t>(reason.status));
    // release: pairs with the client's acquire load when it learns that the connection is over
    page.server.state.store_release(
        static_cast<std::uint32_t>(poisoned ? layout::RegionState::kPoisoned : layout::RegionState::kClosed));
    if (poisoned)
        base::log().warn("connection {} (pid {}, uid {}) broke the protocol and was ended: {}",
                         caller_.connection_number, caller_.pid, caller_.uid, reason.text);
    link_->hang_up();
}

}  // namespace vmrpc::call
