// What an RPC stack is made of. See docs/LAYOUT.md.
#pragma once

#include "layout/segment.hpp"
#include "layout/wild.hpp"

#include <cstdint>

namespace vmrpc::layout {

/// Below the part that code runs on. A whole area, so that it is made of whole pages on both sides.
inline constexpr std::uint64_t kStackGuardBytes = kAreaBytes;
/// A smaller RPC stack has frames only.
inline constexpr std::uint64_t kMinExecutionStackBytes = 4 * kAreaBytes;
/// The largest that has. For hugetlb pages: the system protects them only whole, so a stack would have no guard.
inline constexpr std::uint64_t kFramesOnlyStackBytes = kMinExecutionStackBytes - kAreaBytes;

/// From the lowest byte up: frames of calls, a guard, what code runs on. Code and frames both grow down, each in its
/// own part, so that neither needs to know how deep the other is. The frames come first as most clients make calls on
/// one lane, whose stack is the first: all that they touch lies together.
struct StackParts {
    Extent frames;
    Extent guard;
    Extent execution;  // empty if the stack is too small for code
};

constexpr StackParts parts_of_stack(const Extent& stack) {
    if (stack.bytes < kMinExecutionStackBytes) return {stack, {stack.end(), 0}, {stack.end(), 0}};
    const Extent frames{stack.offset, stack.bytes / 4 / kAreaBytes * kAreaBytes};
    const Extent guard{frames.end(), kStackGuardBytes};
    return {frames, guard, {guard.end(), stack.end() - guard.end()}};
}

}  // namespace vmrpc::layout
