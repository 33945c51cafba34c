#include "call/server_connection.hpp"

#include "base/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

namespace vmrpc::call {
namespace {

thread_local ServerConnection* current_connection = nullptr;

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

ServerConnection::ServerConnection(std::unique_ptr<transport::ServerLink> link)
    : Endpoint(*link, layout::Side::kServer), link_(std::move(link)) {
    for (std::uint32_t i = 0; i < plan().lane_count; ++i)
        lanes_.emplace_back(lane(i), segment(), layout::Extent{plan().stack_offset(i), plan().stack_bytes});
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

bool ServerConnection::poll(const FunctionTable& functions, ServerFrame& frame) {
    bool found = false;
    const std::uint32_t count = lanes_in_use();
    for (std::uint32_t i = 0; i < count; ++i) found |= poll_lane(lanes_[i], functions, frame);
    if (heap().has_remote_frees()) {
        found = true;
        std::ignore = heap().drain();  // a violation ends the connection through on_violation()
    }
    return found;
}

std::uint32_t ServerConnection::lanes_in_use() const {
    // relaxed: a request on a new lane orders itself; more than we made is cut to what we made
    return std::min(control().client.lanes_in_use.load_relaxed(), static_cast<std::uint32_t>(lanes_.size()));
}

bool ServerConnection::poll_lane(ServerLane& lane, const FunctionTable& functions, ServerFrame& frame) {
    for (int taken = 0; taken < kRequestsPerTurn; ++taken) {
        if (!lane.pending()) return taken != 0;
        auto request = lane.take();
        if (!request) {
            end(std::move(request).error());
            return true;
        }
        serve(lane, *request, functions, frame);
        if (is_over()) return true;
    }
    return true;
}

void ServerConnection::serve(ServerLane& lane, const CheckedRequest& request, const FunctionTable& functions,
                             ServerFrame& frame) {
    if (const auto done = execute(request, functions, frame); done)
        lane.reply(request, frame.results(), request.body.result_bytes);
    else
        lane.reply_error(request, done.error().status, done.error().text);
    if (must_ring(control().ring_me[index_of(layout::Side::kClient)], lane.ring_seen())) link_->ring();
}

base::Status ServerConnection::execute(const CheckedRequest& request, const FunctionTable& functions,
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
    VMRPC_TRY(run(*entry, frame));
    return frame.encode_results(*this, function);
}

base::Status ServerConnection::run(const FunctionTable::Entry& entry, ServerFrame& frame) {
    const Current current(this);
    failure_.reset();
    std::array<char, layout::kErrorTextBytes> text;  // not cleared for each call
    text.front() = text.back() = '\0';
    try {
        const vmrpc_status status =
            entry.handler(entry.user, frame.arguments(), frame.result(), text.data(), text.size() - 1);
        if (failure_) [[unlikely]]
            return base::fail(VMRPC_FUNCTION_FAILED, *std::exchange(failure_, std::nullopt));
        if (status == VMRPC_OK) return {};
        return base::fail(status, std::string(text.data()));
    } catch (const std::exception& exception) {  // a C handler that was compiled as C++ lets them through
        return base::fail(VMRPC_FUNCTION_FAILED, exception.what());
    } catch (...) {
        return base::fail(VMRPC_FUNCTION_FAILED, "the function threw something that is no std::exception");
    }
}

void ServerConnection::arm() {
    std::ignore = heap().drain();
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
