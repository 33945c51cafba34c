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

/// From the lowest byte up: a guard, what code runs on, frames of calls. Code and frames both grow down, each in its
/// own part, so that neither needs to know how deep the other is.
struct StackParts {
    Extent guard;
    Extent execution;  // empty if the stack is too small for code
    Extent frames;
};

constexpr StackParts parts_of_stack(const Extent& stack) {
    if (stack.bytes < kMinExecutionStackBytes) return {{stack.offset, 0}, {stack.offset, 0}, stack};
    const std::uint64_t frame_bytes = stack.bytes / 4 / kAreaBytes * kAreaBytes;
    const Extent guard{stack.offset, kStackGuardBytes};
    const Extent frames{stack.end() - frame_bytes, frame_bytes};
    return {guard, {guard.end(), frames.offset - guard.end()}, frames};
}

}  // namespace vmrpc::layout
