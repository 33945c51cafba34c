#include "stack/switch.hpp"

#include "stack/running.hpp"

#include <boost/context/detail/fcontext.hpp>

#include <cxxabi.h>

#include <cstring>

namespace vmrpc::stack {

[[gnu::tls_model("initial-exec")]] constinit thread_local Running* running = nullptr;

namespace {

using boost::context::detail::fcontext_t;
using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

/// The exceptions that this thread is handling, as the Itanium ABI says: a chain, and how many are not caught yet.
class Handled {
  public:
    Handled() : before_(now()) {}
    /// Ends the handling of those that abandoned frames were handling.
    void restore() const {
        while (now().caught != before_.caught) abi::__cxa_end_catch();
        std::memcpy(static_cast<void*>(abi::__cxa_get_globals()), &before_, sizeof before_);
    }

  private:
    struct Globals {
        void* caught;
        unsigned uncaught_count;
    };
    static Globals now() {
        Globals globals;
        std::memcpy(&globals, abi::__cxa_get_globals(), sizeof globals);
        return globals;
    }
    Globals before_;
};

VMRPC_SWITCHES_STACKS void enter(transfer_t from) noexcept {
    running->host = from.fctx;
    running->fiber.at_stack();
    running->task.run(running->task.argument);
    leave();
}

VMRPC_SWITCHES_STACKS transfer_t jump_to_stack(Running& to, fcontext_t context, void* data) {
    running = &to;
    to.fiber.to_stack();
    const transfer_t back = jump_fcontext(context, data);
    to.fiber.at_host();
    running = to.outer;
    return back;
}

}  // namespace

// The way back is found in private memory, not on the stack that is left.
VMRPC_SWITCHES_STACKS void leave() {
    running->fiber.to_host(true);
    jump_fcontext(running->host, nullptr);
    __builtin_unreachable();
}

Ending run_on(const Bounds& stack, std::byte* top, const Task& task) {
    const Handled handled;
    Running here(stack, task, running);
    transfer_t back =
        jump_to_stack(here, make_fcontext(top, static_cast<std::size_t>(top - stack.begin), enter), nullptr);
    while (back.data != nullptr) {
        const HostWork work = *static_cast<const HostWork*>(back.data);
        const std::uintptr_t result = work.run(work.argument, static_cast<std::byte*>(back.fctx));
        back = jump_to_stack(here, back.fctx, reinterpret_cast<void*>(result));
    }
    if (!here.has_overflowed) return Ending::kReturned;
    forget_frames(stack.begin, stack.bytes());
    handled.restore();
    return Ending::kOverflowed;
}

VMRPC_SWITCHES_STACKS std::uintptr_t on_host(HostWork work) {
    running->fiber.to_host(false);
    const transfer_t back = jump_fcontext(running->host, &work);
    running->host = back.fctx;
    running->fiber.at_stack();
    return reinterpret_cast<std::uintptr_t>(back.data);
}

bool is_on(const void* owner) {
    return running != nullptr && running->task.owner == owner;
}

bool is_in_use(const void* owner) {
    for (const Running* each = running; each != nullptr; each = each->outer) {
        if (each->task.owner == owner) return true;
    }
    return false;
}

std::byte* free_top(const void* owner) {
    const Running* inner = running;
    while (inner->outer->task.owner != owner) inner = inner->outer;
    return static_cast<std::byte*>(inner->host);
}

std::size_t bytes_left() {
    if (running == nullptr) return SIZE_MAX;
    const auto* const here = static_cast<const std::byte*>(__builtin_frame_address(0));
    return here < running->stack.begin ? 0 : static_cast<std::size_t>(here - running->stack.begin);
}

}  // namespace vmrpc::stack
