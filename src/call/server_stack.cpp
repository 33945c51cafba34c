// A function on its caller's RPC stack.
#include "call/server_connection.hpp"
#include "stack/memory.hpp"
#include "stack/overflow.hpp"
#include "stack/switch.hpp"

#include <fmt/format.h>

namespace vmrpc::call {

// The way back to this stack is kept here, in private memory; the function's own frames are as safe as the client's are
// from us, which is why both sides must trust each other.
base::Status ServerConnection::run_on_lent_stack(RunningCall& call, ServerLane& lane, std::byte* top,
                                                 const FunctionTable::Entry& entry, ServerFrame& frame) {
    const auto bounds = lane.execution_stack().guarded();
    VMRPC_TRY(bounds);
    VMRPC_TRY(stack::prepare_thread());
    struct Run {
        ServerConnection& connection;
        RunningCall& call;
        const FunctionTable::Entry& entry;
        ServerFrame& frame;
        base::Status status;
    } run{*this, call, entry, frame, {}};
    const auto run_it = [](void* given) noexcept {
        auto& it = *static_cast<Run*>(given);
        it.status = it.connection.run_here(it.call, it.entry, it.frame);
    };
    RunningCall* const outer = RunningCall::current();
    const stack::Ending ending =
        stack::run_on(*bounds, top, {run_it, &run, reinterpret_cast<const void*>(entry.handler), this});
    lane.execution_stack().wipe(top, link_->memory());
    if (ending == stack::Ending::kReturned) return std::move(run.status);
    RunningCall::set_current(outer);
    call.has_failed = false;
    return base::fail(VMRPC_STACK_OVERFLOW,
                      fmt::format("{} ran over the end of the RPC stack that it was lent, of which {} bytes were left; "
                                  "its frames were abandoned",
                                  entry.function->name(), top - bounds->begin));
}

}  // namespace vmrpc::call
