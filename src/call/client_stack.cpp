// The client's code on its RPC stack.
#include "call/client_connection.hpp"
#include "stack/memory.hpp"
#include "stack/overflow.hpp"
#include "stack/sanitizers.hpp"
#include "stack/switch.hpp"

#include <fmt/format.h>

#include <exception>
#include <optional>
#include <string>

namespace vmrpc::call {
namespace {

using base::Status;

/// A user's function, and how it ended. Lies off the RPC stack.
struct UserCode {
    void (*run)(void* argument);
    void* argument;
    std::optional<std::string> thrown;
};

void run_user_code(void* user_code) noexcept {
    UserCode& code = *static_cast<UserCode*>(user_code);
    try {
        code.run(code.argument);
    } catch (const std::exception& exception) {
        code.thrown = exception.what();
    } catch (...) {
        code.thrown = "something that is no std::exception";
    }
}

Status overflowed(const stack::Bounds& stack) {
    return base::fail(VMRPC_STACK_OVERFLOW,
                      fmt::format("the code ran over the end of the RPC stack, which has {} bytes; its frames were "
                                  "abandoned, nothing on them was destroyed: build large objects in the heap",
                                  stack.bytes()));
}

}  // namespace

Status ClientConnection::on_rpc_stack(void (*run)(void* argument), void* argument) {
    VMRPC_TRY(usable_here());
    VMRPC_TRY(usable());
    if (stack::locals_are_elsewhere())
        return base::fail(VMRPC_NOT_SUPPORTED,
                          "AddressSanitizer keeps locals off the stack: set detect_stack_use_after_return=0 in "
                          "ASAN_OPTIONS");
    UserCode code{run, argument, {}};
    if (stack::is_on(owner())) {
        run_user_code(&code);
    } else {
        LanePool::Use use = lanes_->use();
        if (use.is_shared())
            return base::fail(VMRPC_BUSY,
                              fmt::format("the connection has {} lanes, and other threads have taken all but the one "
                                          "that is shared, whose RPC stack cannot be one thread's: raise max_lanes, or "
                                          "retry when a thread has ended",
                                          plan().lane_count));
        const auto bounds = use.lane.execution_stack().guarded();
        VMRPC_TRY(bounds);
        VMRPC_TRY(stack::prepare_thread());
        std::byte* const top = stack::is_in_use(owner()) ? stack::free_top(owner()) : bounds->end;
        const stack::Task task{run_user_code, &code, reinterpret_cast<const void*>(run), owner()};
        if (stack::run_on(*bounds, top, task) == stack::Ending::kOverflowed) return overflowed(*bounds);
    }
    if (code.thrown) return base::fail(VMRPC_FUNCTION_FAILED, fmt::format("the code threw: {}", *code.thrown));
    return {};
}

}  // namespace vmrpc::call
