// Stack overflow on an RPC stack: the fault that the guard causes, on a stack of its own.
#pragma once

#include "base/result.hpp"

namespace vmrpc::stack {

/// Makes this thread ready for run_on(): a handler for SIGSEGV, once in a process, which passes on what is not ours to
/// the one that was there before, and an alternate signal stack, once in a thread, unless it has one. Both stay: the
/// handler until the process ends, the stack until the thread does. Cheap after the first time.
/// Errors: VMRPC_OUT_OF_RESOURCES.
base::Status prepare_thread();

}  // namespace vmrpc::stack
