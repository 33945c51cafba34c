// The server's end of a connection: takes requests from its lanes and executes them.
#pragma once

#include "base/result.hpp"
#include "call/endpoint.hpp"
#include "call/function_table.hpp"
#include "call/server_frame.hpp"
#include "call/server_lane.hpp"
#include "transport/transport.hpp"

#include <vmrpc/vmrpc.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace vmrpc::call {

/// One client of a server. Everything but the Endpoint part belongs to the serving thread.
class ServerConnection final : public Endpoint {
  public:
    /// Requests taken from one lane before the next connection has its turn.
    static constexpr int kRequestsPerTurn = layout::kReplySlots;

    /// Of `commit`, the limit and the delay of this side's arena count.
    explicit ServerConnection(std::unique_ptr<transport::ServerLink> link, const heap::CommitOptions& commit = {});
    ~ServerConnection() override;

    /// Executes the requests that are there, a bounded number of them, then takes the client's frees. Returns whether
    /// there was a request. The connection may be over afterwards: usable() says so.
    bool poll(const FunctionTable& functions, ServerFrame& frame);

    /// About to sleep: asks to be rung. The caller then makes a full fence, and looks at pending() once more.
    void arm();
    /// Whether poll() has something to do.
    [[nodiscard]] bool pending() const;

    /// Tells the client that the connection is over, and why.
    void hang_up(const base::Error& reason);

    [[nodiscard]] transport::ServerLink& link() { return *link_; }
    [[nodiscard]] const vmrpc_caller& caller() const { return caller_; }
    /// The server's own notes: whether it polls this connection, and for how many rounds there was nothing.
    bool is_hot = true;
    std::uint32_t quiet_rounds = 0;

    /// Commits a part of the client's arena, or gives it back, as the client has asked for. Errors: VMRPC_POISONED, and
    /// the connection is over, if it is no such part; VMRPC_OUT_OF_RESOURCES.
    base::Status commit_for_client(layout::Extent range);
    base::Status trim_for_client(layout::Extent range);

    /// The function that runs will have failed with this text, when it returns.
    void fail_current(std::string text) {
        failure_ = std::move(text);
        has_failed_ = true;
    }

    /// The connection of the call that this thread executes; nullptr outside of one.
    static ServerConnection* current();

  private:
    /// After frames that would have done so were abandoned.
    static void set_current(ServerConnection* connection);
    void on_violation(base::Error error) override { end(std::move(error)); }
    bool serve_plain(ServerLane& lane, const FunctionTable& functions, ServerFrame& frame);
    [[nodiscard]] std::uint32_t lanes_in_use() const;
    bool serve_any(ServerLane& lane, const FunctionTable& functions, ServerFrame& frame);
    base::Status execute(ServerLane& lane, const CheckedRequest& request, const FunctionTable& functions,
                         ServerFrame& frame);
    base::Status run_here(const FunctionTable::Entry& entry, ServerFrame& frame);
    base::Status run_on_lent_stack(ServerLane& lane, std::byte* top, const FunctionTable::Entry& entry,
                                   ServerFrame& frame);
    base::Status check_pages(layout::Extent range);
    vmrpc_status run(const FunctionTable::Entry& entry, void* const* arguments, void* result);

    std::unique_ptr<transport::ServerLink> link_;
    std::vector<ServerLane> lanes_;
    std::uint32_t generation_ = 0;  // of our ring-me line
    bool has_failed_ = false;       // the function that runs has called fail_current()
    std::string failure_;           // text of the last failure
    void* state_ = nullptr;         // the user's
    vmrpc_caller caller_;
};

}  // namespace vmrpc::call
