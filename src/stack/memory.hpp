// The memory of an RPC stack: its guard, and what is left on it.
#pragma once

#include "base/fd.hpp"
#include "base/result.hpp"
#include "layout/stack_parts.hpp"
#include "stack/switch.hpp"

#include <cstddef>
#include <cstdint>

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
    /// Zeroes what lies below `top`, where code has run and left what it wrote. `memory` is the segment's.
    /// Pages that nobody has touched stay so.
    void wipe(std::byte* top, base::FilePlace memory);

  private:
    void punch(std::byte* end, base::FilePlace memory);

    std::uint64_t offset_;  // of bounds_.begin, from the segment's base
    Bounds bounds_;
    std::uint32_t wipes_ = 0;
    bool is_guarded_ = false;
};

}  // namespace vmrpc::stack
