#include "transport/socket_file.hpp"

#include "base/clock.hpp"
#include "transport/socket.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

namespace vmrpc::transport {
namespace {

constexpr std::int64_t kLockLimitNs = 2'000'000'000;
constexpr useconds_t kLockRetryUs = 2'000;
constexpr int kBacklog = 256;

struct Place {
    std::string name;  // "scheme:path", for messages
    std::string path;
    int type = 0;  // of the socket
};

const sockaddr* generic(const sockaddr_un& address) {
    return reinterpret_cast<const sockaddr*>(&address);
}

base::Result<notify::GuardedFd> open_folder(const Place& place, const std::string& folder) {
    auto descriptor =
        notify::GuardedFd::made_by([&] { return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (descriptor.valid()) return descriptor;
    const int error = errno;
    if (error == ENOENT || error == ENOTDIR)
        return base::fail(VMRPC_BAD_ADDRESS,
                          fmt::format("{}: there is no folder {}: make it first", place.name, folder));
    if (error == EACCES)
        return base::fail(VMRPC_NOT_PERMITTED,
                          fmt::format("{}: folder {} may not be read by this user: choose another path, or let "
                                      "the user read and write it",
                                      place.name, folder));
    return base::fail_errno(fmt::format("{}: cannot open folder {}", place.name, folder), error);
}

// Released by closing: the lock is on a description of its own, so that the folder can stay open.
base::Result<notify::GuardedFd> lock_folder(const Place& place, const std::string& folder) {
    auto lock = open_folder(place, folder);
    if (!lock) return lock;
    const auto limit = base::Deadline::in(kLockLimitNs);
    while (::flock(lock->get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return base::fail_errno(fmt::format("{}: cannot lock folder {}", place.name, folder), errno);
        if (limit.passed())
            return base::fail(VMRPC_ADDRESS_IN_USE,
                              fmt::format("{}: another program holds a lock on folder {}: end it, or choose a "
                                          "path in another folder",
                                          place.name, folder));
        ::usleep(kLockRetryUs);
    }
    return lock;
}

base::Status in_use(const Place& place) {
    return base::fail(VMRPC_ADDRESS_IN_USE, fmt::format("{}: another server is alive there: stop it, or choose "
                                                        "another path",
                                                        place.name));
}

// Whether a server is alive behind an existing socket file is seen by connecting to it.
base::Status check_stale(const Place& place, const sockaddr_un& address) {
    auto probe = make_socket(place.type);
    if (!probe) return tl::unexpected(std::move(probe).error());
    if (::connect(probe->get(), generic(address), sizeof address) == 0) return in_use(place);
    switch (errno) {
        case ECONNREFUSED:
        case ENOENT:
            return {};
        case EAGAIN:      // its queue is full
        case EPROTOTYPE:  // a server of another kind
            return in_use(place);
        default:
            return base::fail_errno(
                fmt::format("{}: there is a socket file already, and whether it is in use cannot be seen", place.name),
                errno);
    }
}

base::Status make_free(const Place& place, const sockaddr_un& address) {
    struct stat status {};
    if (::lstat(place.path.c_str(), &status) != 0) {
        if (errno == ENOENT) return {};
        return base::fail_errno(fmt::format("{}: cannot look there", place.name), errno);
    }
    if (!S_ISSOCK(status.st_mode))
        return base::fail(VMRPC_ADDRESS_IN_USE, fmt::format("{}: there is a file that is no socket; it is left "
                                                            "alone: choose another path, or remove it yourself",
                                                            place.name));
    VMRPC_TRY(check_stale(place, address));
    if (::unlink(place.path.c_str()) != 0 && errno != ENOENT)
        return base::fail_errno(fmt::format("{}: cannot remove the socket file that a dead server left", place.name),
                                errno);
    return {};
}

base::Status bind_and_listen(int socket, const Place& place, const sockaddr_un& address) {
    if (::bind(socket, generic(address), sizeof address) != 0) {
        if (errno == EACCES || errno == EPERM || errno == EROFS)
            return base::fail(VMRPC_NOT_PERMITTED,
                              fmt::format("{}: this user may not make files there: choose another path, or let "
                                          "the user write to the folder",
                                          place.name));
        return base::fail_errno(fmt::format("{}: cannot bind", place.name), errno);
    }
    if (::listen(socket, kBacklog) == 0) return {};
    const int error = errno;
    ::unlink(place.path.c_str());
    return base::fail_errno(fmt::format("{}: cannot listen", place.name), error);
}

}  // namespace

base::Result<SocketFile> SocketFile::open(const std::string& path, std::string_view scheme, int type) {
    const Place place{fmt::format("{}:{}", scheme, path), path, type};
    const auto address = socket_address(scheme, path);
    if (!address) return tl::unexpected(address.error());
    const std::size_t slash = path.rfind('/');
    SocketFile file;
    file.name_ = slash == std::string::npos ? path : path.substr(slash + 1);
    if (file.name_.empty() || file.name_ == "." || file.name_ == "..")
        return base::fail(VMRPC_BAD_ADDRESS,
                          fmt::format("{}: this names a folder: add the name of a socket", place.name));
    const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    auto folder_descriptor = open_folder(place, folder);
    if (!folder_descriptor) return tl::unexpected(std::move(folder_descriptor).error());
    const auto lock = lock_folder(place, folder);
    if (!lock) return tl::unexpected(lock.error());
    VMRPC_TRY(make_free(place, *address));
    auto socket = make_socket(place.type);
    if (!socket) return tl::unexpected(std::move(socket).error());
    VMRPC_TRY(bind_and_listen(socket->get(), place, *address));
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0)
        return base::fail_errno(fmt::format("{}: the socket file vanished at once", place.name), errno);
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

}  // namespace vmrpc::transport
