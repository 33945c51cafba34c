// The memory of an RPC stack: its guard, and what is left on it.
#pragma once

#include "base/result.hpp"
#include "layout/stack_parts.hpp"
#include "stack/switch.hpp"

#include <cstddef>

namespace vmrpc::stack {

/// The part of an RPC stack that code runs on, in this process.
Bounds bounds_of(std::byte* segment, const layout::StackParts& parts);

/// Puts the guard in place, in this process's mapping. Errors: VMRPC_OUT_OF_RESOURCES.
base::Status protect(const Bounds& stack);
/// Takes it away, before the memory is used for something else or unmapped.
void unprotect(const Bounds& stack);

/// Zeroes what lies between two places of a stack. Pages that nobody has touched yet stay so.
void wipe(std::byte* begin, std::byte* end);

}  // namespace vmrpc::stack
