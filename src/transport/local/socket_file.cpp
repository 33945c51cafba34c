#include "transport/local/socket_file.hpp"

#include "base/clock.hpp"
#include "transport/local/socket.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

namespace vmrpc::transport::local {
namespace {

constexpr std::int64_t kLockLimitNs = 2'000'000'000;
constexpr useconds_t kLockRetryUs = 2'000;
constexpr int kBacklog = 256;

const sockaddr* generic(const sockaddr_un& address) {
    return reinterpret_cast<const sockaddr*>(&address);
}

base::Result<notify::GuardedFd> open_folder(const std::string& path, const std::string& folder) {
    auto descriptor =
        notify::GuardedFd::made_by([&] { return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (descriptor.valid()) return descriptor;
    const int error = errno;
    if (error == ENOENT || error == ENOTDIR)
        return base::fail(VMRPC_BAD_ADDRESS,
                          fmt::format("local:{}: there is no folder {}: make it first", path, folder));
    if (error == EACCES)
        return base::fail(VMRPC_NOT_PERMITTED,
                          fmt::format("local:{}: folder {} may not be read by this user: choose another path, or let "
                                      "the user read and write it",
                                      path, folder));
    return base::fail_errno(fmt::format("local:{}: cannot open folder {}", path, folder), error);
}

// Released by closing: the lock is on a description of its own, so that the folder can stay open.
base::Result<notify::GuardedFd> lock_folder(const std::string& path, const std::string& folder) {
    auto lock = open_folder(path, folder);
    if (!lock) return lock;
    const auto limit = base::Deadline::in(kLockLimitNs);
    while (::flock(lock->get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return base::fail_errno(fmt::format("local:{}: cannot lock folder {}", path, folder), errno);
        if (limit.passed())
            return base::fail(VMRPC_ADDRESS_IN_USE,
                              fmt::format("local:{}: another program holds a lock on folder {}: end it, or choose a "
                                          "path in another folder",
                                          path, folder));
        ::usleep(kLockRetryUs);
    }
    return lock;
}

base::Status in_use(const std::string& path) {
    return base::fail(VMRPC_ADDRESS_IN_USE, fmt::format("local:{}: another server is alive there: stop it, or choose "
                                                        "another path",
                                                        path));
}

// Whether a server is alive behind an existing socket file is seen by connecting to it.
base::Status check_stale(const std::string& path, const sockaddr_un& address) {
    auto probe = make_socket();
    if (!probe) return tl::unexpected(std::move(probe).error());
    if (::connect(probe->get(), generic(address), sizeof address) == 0) return in_use(path);
    switch (errno) {
        case ECONNREFUSED:
        case ENOENT:
            return {};
        case EAGAIN:      // its queue is full
        case EPROTOTYPE:  // a server of another kind
            return in_use(path);
        default:
            return base::fail_errno(
                fmt::format("local:{}: there is a socket file already, and whether it is in use cannot be seen", path),
                errno);
    }
}

base::Status make_free(const std::string& path, const sockaddr_un& address) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) {
        if (errno == ENOENT) return {};
        return base::fail_errno(fmt::format("local:{}: cannot look there", path), errno);
    }
    if (!S_ISSOCK(status.st_mode))
        return base::fail(VMRPC_ADDRESS_IN_USE, fmt::format("local:{}: there is a file that is no socket; it is left "
                                                            "alone: choose another path, or remove it yourself",
                                                            path));
    VMRPC_TRY(check_stale(path, address));
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
        return base::fail_errno(fmt::format("local:{}: cannot remove the socket file that a dead server left", path),
                                errno);
    return {};
}

base::Status bind_and_listen(int socket, const std::string& path, const sockaddr_un& address) {
    if (::bind(socket, generic(address), sizeof address) != 0) {
        if (errno == EACCES || errno == EPERM || errno == EROFS)
            return base::fail(VMRPC_NOT_PERMITTED,
                              fmt::format("local:{}: this user may not make files there: choose another path, or let "
                                          "the user write to the folder",
                                          path));
        return base::fail_errno(fmt::format("local:{}: cannot bind", path), errno);
    }
    if (::listen(socket, kBacklog) == 0) return {};
    const int error = errno;
    ::unlink(path.c_str());
    return base::fail_errno(fmt::format("local:{}: cannot listen", path), error);
}

}  // namespace

base::Result<SocketFile> SocketFile::open(const std::string& path) {
    const auto address = socket_address(path);
    if (!address) return tl::unexpected(address.error());
    const std::size_t slash = path.rfind('/');
    SocketFile file;
    file.name_ = slash == std::string::npos ? path : path.substr(slash + 1);
    if (file.name_.empty() || file.name_ == "." || file.name_ == "..")
        return base::fail(VMRPC_BAD_ADDRESS,
                          fmt::format("local:{}: this names a folder: add the name of a socket", path));
    const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    auto folder_descriptor = open_folder(path, folder);
    if (!folder_descriptor) return tl::unexpected(std::move(folder_descriptor).error());
    const auto lock = lock_folder(path, folder);
    if (!lock) return tl::unexpected(lock.error());
    VMRPC_TRY(make_free(path, *address));
    auto socket = make_socket();
    if (!socket) return tl::unexpected(std::move(socket).error());
    VMRPC_TRY(bind_and_listen(socket->get(), path, *address));
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0)
        return base::fail_errno(fmt::format("local:{}: the socket file vanished at once", path), errno);
    file.socket_ = std::move(*socket);
    file.folder_ = std::move(*folder_descriptor);
    file.device_ = status.st_dev;
    file.inode_ = status.st_ino;
    return file;
}

SocketFile::~SocketFile() {
    // "none" in a forked child: the file is the parent's. While the socket is open its inode's number is not used
    // again, and no other server takes the path over: what is compared stays as it is until the removal.
    if (!socket_.valid() || !folder_.valid()) return;
    struct stat status {};
    if (::fstatat(folder_.get(), name_.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return;
    if (status.st_dev == device_ && status.st_ino == inode_) ::unlinkat(folder_.get(), name_.c_str(), 0);
}

}  // namespace vmrpc::transport::local
