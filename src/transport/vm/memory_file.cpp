#include "transport/vm/memory_file.hpp"

#include "transport/vm/info_block.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace vmrpc::transport::vm {
namespace {

constexpr std::uint64_t kRoundBytes = std::uint64_t{2} * 1024 * 1024;

base::Status write_file(int file, const std::string& path, std::uint64_t segment_bytes, unsigned mode) {
    const InfoBlock block = make_info_block({layout::make_uuid(), segment_bytes});
    // The mode is what was asked for, whatever the umask: QEMU mostly runs as another user.
    if (::fchmod(file, mode) != 0 || ::ftruncate(file, static_cast<off_t>(kDaxDataOffset + segment_bytes)) != 0 ||
        ::pwrite(file, block.data(), block.size(), kInfoBlockOffset) != static_cast<ssize_t>(block.size()))
        return base::fail_errno(fmt::format("cannot make {} of {} bytes", path, kDaxDataOffset + segment_bytes), errno);
    return {};
}

}  // namespace

base::Status make_memory_file(const std::string& path, std::uint64_t segment_bytes, unsigned mode) {
    if (segment_bytes < kMinSegmentBytes)
        return base::fail(VMRPC_BAD_ARGUMENT, fmt::format("{}: a segment of {} bytes is too small: {} at least", path,
                                                          segment_bytes, kMinSegmentBytes));
    segment_bytes = (segment_bytes + kRoundBytes - 1) / kRoundBytes * kRoundBytes;
    // Without a name until it is whole: the service watches the folder.
    const std::size_t slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    const base::Fd file(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!file.valid()) return base::fail_errno(fmt::format("cannot make a file in {}", folder), errno);
    VMRPC_TRY(write_file(file.get(), path, segment_bytes, mode));
    const std::string nameless = fmt::format("/proc/self/fd/{}", file.get());
    if (::linkat(AT_FDCWD, nameless.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0) return {};
    if (errno == EEXIST)
        return base::fail(VMRPC_ADDRESS_IN_USE,
                          fmt::format("{} is there already: remove it first if no VM uses it", path));
    return base::fail_errno(fmt::format("cannot make {}", path), errno);
}

base::Result<MemoryFile> open_memory_file(const std::string& path) {
    MemoryFile memory;
    memory.file = notify::GuardedFd::made_by(
        [&path] { return ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); });
    if (!memory.file.valid() && errno == ENOENT)
        return base::fail(VMRPC_NO_SERVER, fmt::format("{} is not there: `vmrpc qemu-args` makes it", path));
    if (!memory.file.valid()) return base::fail_errno(fmt::format("cannot open {}", path), errno);
    struct stat status {};
    if (::fstat(memory.file.get(), &status) != 0)
        return base::fail_errno(fmt::format("cannot look at {}", path), errno);
    if (!S_ISREG(status.st_mode)) return base::fail(VMRPC_NOT_VMRPC, fmt::format("{} is no regular file", path));
    InfoBlock block{};
    if (::pread(memory.file.get(), block.data(), block.size(), kInfoBlockOffset) != static_cast<ssize_t>(block.size()))
        return base::fail(VMRPC_NOT_VMRPC, fmt::format("{} has {} bytes, too few for an info block: it is cut off, or "
                                                       "belongs to another program",
                                                       path, status.st_size));
    const auto dax = read_info_block(block, static_cast<std::uint64_t>(status.st_size));
    if (!dax) return base::fail(dax.error().status, fmt::format("{}: {}", path, dax.error().text));
    if (dax->data_bytes < kMinSegmentBytes)
        return base::fail(VMRPC_NOT_VMRPC, fmt::format("{} has room for a segment of {} bytes, {} are needed", path,
                                                       dax->data_bytes, kMinSegmentBytes));
    memory.segment_offset = kDaxDataOffset;
    memory.segment_bytes = dax->data_bytes;
    memory.uuid = dax->uuid;
    return memory;
}

}  // namespace vmrpc::transport::vm
