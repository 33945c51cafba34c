#include "transport/memfd_pages.hpp"

#include "transport/mapping.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

namespace vmrpc::transport {
namespace {

/// In one system call, which a signal may interrupt: what was done before is undone then.
constexpr std::uint64_t kMostAtOnceBytes = std::uint64_t{32} * 1024 * 1024;

bool allocate(base::FilePlace memory, int mode, layout::Extent range) {
    range.offset += memory.offset;
    while (range.bytes != 0) {
        const std::uint64_t bytes = std::min(range.bytes, kMostAtOnceBytes);
        if (::fallocate(memory.descriptor, mode, static_cast<off_t>(range.offset), static_cast<off_t>(bytes)) != 0) {
            if (errno == EINTR) continue;
            return false;
        }
        range.offset += bytes;
        range.bytes -= bytes;
    }
    return true;
}

}  // namespace

bool is_device(int descriptor) noexcept {
    struct stat status {};
    return ::fstat(descriptor, &status) == 0 && S_ISCHR(status.st_mode);
}

std::unique_ptr<heap::Pages> pages_of(base::FilePlace memory, std::byte* segment, std::uint32_t flags) {
    if (is_hugetlb(memory.descriptor) || is_device(memory.descriptor)) return std::make_unique<PresentPages>();
    if ((flags & layout::kRegionTransparent) != 0) return std::make_unique<TransparentPages>(memory, segment);
    return std::make_unique<MemfdPages>(memory);
}

base::Status MemfdPages::commit(layout::Extent range) {
    if (allocate(memory_, 0, range)) return {};
    return base::fail_errno(fmt::format("the system has no {} bytes of memory for the heap: free some, or raise what "
                                        "this process may use",
                                        range.bytes),
                            errno);
}

bool MemfdPages::give_back(layout::Extent range, Wait /*wait*/) noexcept {
    // Cannot fail on a memfd. If it did, the memory would stay taken until the segment's end: no reason to try for
    // ever.
    allocate(memory_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, range);
    return true;
}

// Through the mapping: the system heeds advice only there, and not when it is asked for a part of a file.
base::Status TransparentPages::commit(layout::Extent range) {
    return prefault_memory(segment_ + range.offset, range.bytes);
}

}  // namespace vmrpc::transport
