#include "stack/memory.hpp"

#include "stack/sanitizers.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>

namespace vmrpc::stack {
namespace {

/// What stays of a stack's memory below what is in use, when the rest goes back.
constexpr std::uint64_t kKeptBytes = std::uint64_t{4} * 1024;
/// Up to here holes are filled rather than looked for.
constexpr std::uint64_t kFilledBytes = std::uint64_t{64} * 1024;
/// A fault costs as much as zeroing so many pages.
constexpr std::uint32_t kWipesPerPunch = 256;

std::size_t guard_bytes(const Bounds& stack) {
    return static_cast<std::size_t>(stack.begin - stack.guard);
}

/// The lowest place that has memory, from an offset on: data, as lseek(2) calls it, in pages whose contents count. The
/// offset itself if the system does not say; UINT64_MAX if there is none.
std::uint64_t first_touched(base::FilePlace memory, std::uint64_t offset) {
    const off_t found = ::lseek(memory.descriptor, static_cast<off_t>(memory.offset + offset), SEEK_DATA);
    if (found >= 0) return std::max(static_cast<std::uint64_t>(found) - memory.offset, offset);
    return errno == ENXIO ? UINT64_MAX : offset;
}

/// Where the pages end that are there from a touched place on; `most` if the system does not say.
std::uint64_t end_of_touched(base::FilePlace memory, std::uint64_t first, std::uint64_t most) {
    const off_t begin = static_cast<off_t>(memory.offset + first);
    const off_t found = ::lseek(memory.descriptor, begin, SEEK_HOLE);
    return found > begin ? static_cast<std::uint64_t>(found) - memory.offset : most;
}

}  // namespace

GuardedStack::GuardedStack(std::byte* segment, const layout::StackParts& parts)
    : offset_(parts.execution.offset),
      bounds_{segment + parts.guard.offset, segment + parts.execution.offset, segment + parts.execution.end()} {}

base::Result<Bounds> GuardedStack::guarded() {
    if (bounds_.bytes() == 0)
        return base::fail(
            VMRPC_NOT_SUPPORTED,
            fmt::format(
                "the connection's RPC stacks have frames only; code runs on those of {} bytes or "
                "more. In hugetlb pages none can, as no part of such a page can guard a stack's end: do without "
                "huge_pages on both sides, or build the data in the heap",
                layout::kMinExecutionStackBytes));
    if (!is_guarded_ && ::mprotect(bounds_.guard, guard_bytes(bounds_), PROT_NONE) != 0)
        return base::fail_errno(fmt::format("cannot guard the RPC stack's end at {}", fmt::ptr(bounds_.guard)), errno);
    is_guarded_ = true;
    return bounds_;
}

void GuardedStack::unguard() {
    if (is_guarded_) ::mprotect(bounds_.guard, guard_bytes(bounds_), PROT_READ | PROT_WRITE);
    is_guarded_ = false;
}

// One system call in the common case, whatever the code did: a page that anybody has touched is there, and the lowest
// one tells how deep to zero. What was once touched would be zeroed for ever after, so what is deep goes back to the
// system once in a while.
void GuardedStack::wipe(std::byte* top, base::FilePlace memory) {
    forget_frames(bounds_.begin, static_cast<std::size_t>(top - bounds_.begin));
    const auto bytes = static_cast<std::uint64_t>(top - bounds_.begin);
    if (++wipes_ % kWipesPerPunch == 0 && bytes > kKeptBytes) punch(top - kKeptBytes, memory);
    const std::uint64_t end = offset_ + bytes;
    for (std::uint64_t first = first_touched(memory, offset_); first < end;) {
        const std::uint64_t last = end - first > kFilledBytes ? std::min(end_of_touched(memory, first, end), end) : end;
        std::memset(bounds_.begin + (first - offset_), 0, last - first);
        first = last < end ? first_touched(memory, last) : end;
    }
}

/// Gives back the pages below a place. Should that fail they stay, and are zeroed.
void GuardedStack::punch(std::byte* end, base::FilePlace memory) {
    static const auto kPageBytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    const auto bytes = static_cast<std::uint64_t>(end - bounds_.begin) / kPageBytes * kPageBytes;
    if (bytes != 0)
        ::fallocate(memory.descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    static_cast<off_t>(memory.offset + offset_), static_cast<off_t>(bytes));
}

}  // namespace vmrpc::stack
