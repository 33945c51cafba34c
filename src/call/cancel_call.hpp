// Telling the server that a call is wanted no more: an ordinary call of a reserved function, on the same lane.
#pragma once

#include "call/function.hpp"

#include <vmrpc/vmrpc.h>

#include <cstddef>

namespace vmrpc::call {

/// The reserved function's own frames. Its one argument, a 64-bit value, is the sequence of the request that is
/// cancelled; a sequence that is no call's, or that of one which was answered, does nothing.
const Function& cancel_function();

/// Its handler: for the connection, and the lane, of the call that this thread serves.
vmrpc_status serve_cancel(void* user, void* const* arguments, void* result, char* error_text, std::size_t error_bytes);

}  // namespace vmrpc::call
