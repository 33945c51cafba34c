// The memory of an RPC stack: its guard, and what is left on it.
#pragma once

#include "base/result.hpp"
#include "layout/stack_parts.hpp"
#include "stack/switch.hpp"

#include <cstddef>

namespace vmrpc::stack {

/// The part of an RPC stack that code runs on, in this process's mapping.
class GuardedStack {
  public:
    GuardedStack(std::byte* segment, const layout::StackParts& parts);

    /// Puts the guard in place, if it is not yet.
    /// Errors: VMRPC_NOT_SUPPORTED (the stack has frames only), VMRPC_OUT_OF_RESOURCES.
    base::Result<Bounds> guarded();
    /// Takes the guard away, if there is one: before the memory is used for something else or unmapped.
    void unguard();

  private:
    Bounds bounds_;
    bool is_guarded_ = false;
};

/// Zeroes what lies between two places of a stack. Pages that nobody has touched yet stay so.
void wipe(std::byte* begin, std::byte* end);

}  // namespace vmrpc::stack
