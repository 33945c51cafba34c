// What a thread knows of the stack that it runs on. Private to src/stack/.
#pragma once

#include "stack/sanitizers.hpp"
#include "stack/switch.hpp"

#include <cstddef>

namespace vmrpc::stack {

/// One run_on(). Lies where it was called: no peer can write it, unless that is another RPC stack.
struct Running {
    Running(const Bounds& on, const Task& what, Running* before)
        : stack(on), task(what), outer(before), fiber(on.begin, on.bytes()) {}
    Bounds stack;
    Task task;
    Running* outer;
    Fiber fiber;
    void* host = nullptr;  // where control goes when the stack is left
    bool has_overflowed = false;
};

/// The innermost of this thread. At a place that is known when the library is loaded: a signal handler reads it.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local Running* running;

/// Leaves the stack of `running` for good.
[[noreturn]] void leave();

}  // namespace vmrpc::stack
