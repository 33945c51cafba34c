#include "stack/memory.hpp"

#include "stack/sanitizers.hpp"

#include <fmt/format.h>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace vmrpc::stack {
namespace {

std::size_t guard_bytes(const Bounds& stack) {
    return static_cast<std::size_t>(stack.begin - stack.guard);
}

/// Zeroes whole pages, those that are there; asks the system for as many at once as `there` has room for.
void wipe_pages(std::byte* begin, std::byte* end, std::size_t page_bytes) {
    std::array<unsigned char, 256> there;
    while (begin < end) {
        const std::size_t bytes = std::min(static_cast<std::size_t>(end - begin), there.size() * page_bytes);
        // A page that was touched stays in memory: the file has no other place. If the system does not say, all are.
        if (::mincore(begin, bytes, there.data()) != 0) there.fill(1);
        for (std::size_t page = 0; page * page_bytes < bytes; ++page) {
            if ((there[page] & 1U) != 0) std::memset(begin + page * page_bytes, 0, page_bytes);
        }
        begin += bytes;
    }
}

}  // namespace

GuardedStack::GuardedStack(std::byte* segment, const layout::StackParts& parts)
    : bounds_{segment + parts.guard.offset, segment + parts.execution.offset, segment + parts.execution.end()} {}

base::Result<Bounds> GuardedStack::guarded() {
    if (bounds_.bytes() == 0)
        return base::fail(
            VMRPC_NOT_SUPPORTED,
            fmt::format("the connection's RPC stacks have frames only; code runs on those of {} bytes or "
                        "more. In huge pages none can, as no part of such a page can guard a stack's end: do without "
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

void wipe(std::byte* begin, std::byte* end) {
    static const auto kPageBytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    forget_frames(begin, static_cast<std::size_t>(end - begin));
    // The part begins with an area, and so with a page.
    std::byte* const last = end - reinterpret_cast<std::uintptr_t>(end) % kPageBytes;
    wipe_pages(begin, last, kPageBytes);
    std::memset(last, 0, static_cast<std::size_t>(end - last));
}

}  // namespace vmrpc::stack
