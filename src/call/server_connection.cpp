#include "call/server_connection.hpp"

#include "base/log.hpp"
#include "call/pages_calls.hpp"
#include "heap/size_class.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

namespace vmrpc::call {
namespace {

[[gnu::tls_model("initial-exec")]] constinit thread_local ServerConnection* current_connection = nullptr;

/// Makes a connection the current one of this thread for as long as a function runs; functions may be nested.
class Current {
  public:
    explicit Current(ServerConnection* connection) : outer_(std::exchange(current_connection, connection)) {}
    Current(const Current&) = delete;
    Current& operator=(const Current&) = delete;
    ~Current() { current_connection = outer_; }

  private:
    ServerConnection* outer_;
};

}  // namespace

ServerConnection* ServerConnection::current() {
    return current_connection;
}

void ServerConnection::set_current(ServerConnection* connection) {
    current_connection = connection;
}

ServerConnection::ServerConnection(std::unique_ptr<transport::ServerLink> link, const heap::CommitOptions& commit)
    : Endpoint(*link, layout::Side::kServer, commit), link_(std::move(link)) {
    lanes_.reserve(plan().lane_count);
    const bool borrows = (plan().flags & layout::kRegionBorrows) != 0 && plan().agreed_address != 0;
    for (std::uint32_t i = 0; i < plan().lane_count; ++i)
        lanes_.emplace_back(lane(i), segment(), layout::Extent{plan().stack_offset(i), plan().stack_bytes}, borrows);
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
    for (ServerLane& each : lanes_) each.execution_stack().unguard();
}

std::uint32_t ServerConnection::lanes_in_use() const {
    // relaxed: a request on a new lane orders itself; more than we made is cut to what we made
    return std::min(control().client.lanes_in_use.load_relaxed(), static_cast<std::uint32_t>(lanes_.size()));
}

[[gnu::always_inline]] inline vmrpc_status ServerConnection::run(const FunctionTable::Entry& entry,
                                                                 void* const* arguments, void* result) {
    const Current current(this);
    std::array<char, layout::kErrorTextBytes> text;  // not cleared for each call
    text.front() = '\0';
    try {
        const vmrpc_status status = entry.handler(entry.user, arguments, result, text.data(), text.size());
        if (status == VMRPC_OK && !has_failed_) [[likely]]
            return VMRPC_OK;
        if (!std::exchange(has_failed_, false)) {
            failure_ = text.data();
            return status;
        }
        return VMRPC_FUNCTION_FAILED;
    } catch (const std::exception& exception) {  // a C handler that was compiled as C++ lets them through
        failure_ = exception.what();
    } catch (...) {
        failure_ = "the function threw something that is no std::exception";
    }
    has_failed_ = false;
    return VMRPC_FUNCTION_FAILED;
}

// Does what serve_any() does, less what a plain function does not need. False, with nothing done, if the request is not
// one for it, or one that needs an error. Every instruction before the reply counts.
[[gnu::always_inline]] inline bool ServerConnection::serve_plain(ServerLane& lane, const FunctionTable& functions,
                                                                 ServerFrame& frame) {
    if (!lane.has_next() || is_over()) return false;
    const PlainHead request = lane.plain_head();
    const FunctionTable::Entry* const entry = functions.find_plain(function_of(request.target), request.sizes);
    if (entry == nullptr || !is_plain_target(request.target)) return false;
    const Function& function = *entry->function;
    const bool has_values = request.sizes != 0;
    if (has_values) {
        lane.copy_inline_arguments(frame.request());
        frame.point_to_values(function);
    }
    const std::uint32_t slot = slot_of(request.target);
    if (const vmrpc_status status = run(*entry, frame.arguments(), frame.result()); status != VMRPC_OK) [[unlikely]] {
        lane.reply_error(slot, status, failure_);
        return true;
    }
    if (has_values) frame.put_values(function, lane.plain_results(slot));
    lane.reply_plain(slot, request.sizes);
    return true;
}

// All that comes between a plain request and its reply is inlined here, where the server looks for requests.
bool ServerConnection::poll(const FunctionTable& functions, ServerFrame& frame) {
    bool found = false;
    const std::uint32_t count = lanes_in_use();
    for (std::uint32_t i = 0; i < count; ++i) {
        ServerLane& lane = lanes_[i];
        for (int taken = 0; taken < kRequestsPerTurn; ++taken) {
            if (!serve_plain(lane, functions, frame) && (!lane.pending() || !serve_any(lane, functions, frame))) break;
            found = true;
            if (must_ring(control().ring_me[index_of(layout::Side::kClient)], lane.ring_seen())) link_->ring();
        }
    }
    if (found && heap().has_remote_frees()) std::ignore = heap().drain();  // a violation ends us: on_violation()
    return found;
}

bool ServerConnection::serve_any(ServerLane& lane, const FunctionTable& functions, ServerFrame& frame) {
    if (is_over()) return false;
    auto request = lane.take();
    if (!request) {
        end(std::move(request).error());
        return false;
    }
    if (const auto done = execute(lane, *request, functions, frame); done)
        lane.reply(*request, frame.results(), request->body.result_bytes);
    else
        lane.reply_error(*request, done.error().status, done.error().text);
    return true;
}

base::Status ServerConnection::execute(ServerLane& lane, const CheckedRequest& request, const FunctionTable& functions,
                                       ServerFrame& frame) {
    const layout::RequestBody& body = request.body;
    const FunctionTable::Entry* entry = functions.find(body.function);
    if (entry == nullptr)
        return base::fail(VMRPC_UNKNOWN_FUNCTION,
                          fmt::format("no function has index {}: resolve it again", body.function));
    const Function& function = *entry->function;
    if (body.frame_bytes != function.request_bytes() || body.result_bytes != function.result_bytes())
        return base::fail(
            VMRPC_SIGNATURE_MISMATCH,
            fmt::format("{} takes frames of {} and {} bytes; {} and {} came", function.signature(),
                        function.request_bytes(), function.result_bytes(), body.frame_bytes, body.result_bytes));
    if (request.stacked_arguments != nullptr)
        layout::copy_from_peer(frame.request(), request.stacked_arguments, body.frame_bytes);
    else
        std::memcpy(frame.request(), body.inline_arguments.data(), body.inline_arguments.size());  // one size: no loop
    VMRPC_TRY(frame.decode(*this, function));
    VMRPC_TRY(request.lent_stack == nullptr ? run_here(*entry, frame)
                                            : run_on_lent_stack(lane, request.lent_stack, *entry, frame));
    return frame.encode_results(*this, function);
}

base::Status ServerConnection::run_here(const FunctionTable::Entry& entry, ServerFrame& frame) {
    if (const vmrpc_status status = run(entry, frame.arguments(), frame.result()); status != VMRPC_OK)
        return base::fail(status, std::exchange(failure_, {}));
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

bool ServerConnection::pending() const {
    const std::uint32_t count = lanes_in_use();
    return std::any_of(lanes_.begin(), lanes_.begin() + count, [](const ServerLane& lane) { return lane.pending(); });
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
