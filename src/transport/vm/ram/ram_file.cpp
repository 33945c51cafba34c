#include "transport/vm/ram/ram_file.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace vmrpc::transport::vm {

base::Status make_ram_file(const std::string& path, std::uint64_t bytes, unsigned mode) {
    const base::Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file.valid() && errno == EEXIST)
        return base::fail(VMRPC_ADDRESS_IN_USE, fmt::format("{} is there already", path));
    if (!file.valid()) return base::fail_errno(fmt::format("cannot make {}", path), errno);
    // The mode is what was asked for, whatever the umask: QEMU mostly runs as another user.
    if (::ftruncate(file.get(), static_cast<off_t>(bytes)) == 0 && ::fchmod(file.get(), mode) == 0) return {};
    const int error = errno;
    ::unlink(path.c_str());
    return base::fail_errno(fmt::format("cannot make {} of {} bytes", path, bytes), error);
}

base::Result<RamFile> open_ram_file(const std::string& path) {
    RamFile ram;
    ram.file = notify::GuardedFd::made_by(
        [&path] { return ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); });
    if (!ram.file.valid() && errno == ENOENT)
        return base::fail(
            VMRPC_NO_SERVER,
            fmt::format("{} is not there: memory=ram needs the VM's RAM as that file (`vmrpc qemu-args`)", path));
    if (!ram.file.valid()) return base::fail_errno(fmt::format("cannot open {}", path), errno);
    struct stat status {};
    if (::fstat(ram.file.get(), &status) != 0) return base::fail_errno(fmt::format("cannot look at {}", path), errno);
    if (!S_ISREG(status.st_mode) || status.st_size <= 0)
        return base::fail(VMRPC_NOT_VMRPC, fmt::format("{} is no file with a VM's RAM", path));
    ram.bytes = static_cast<std::uint64_t>(status.st_size);
    return ram;
}

}  // namespace vmrpc::transport::vm
