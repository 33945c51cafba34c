#include "transport/socket.hpp"

#include <fmt/format.h>

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>
#include <mutex>

namespace vmrpc::transport {
namespace {

#ifndef SO_PEERPIDFD
constexpr int SO_PEERPIDFD = 77;  // Linux 6.5; NOLINT(readability-identifier-naming)
#endif

constexpr std::size_t kControlBytes = CMSG_SPACE(sizeof(int) * 2);

// Has the peer closed its end? A message that waits to be read is no end.
bool has_ended(int socket) {
    char byte = 0;
    const ssize_t got = ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

std::size_t descriptors_in(const cmsghdr* part) {
    const bool carries = part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS;
    return carries ? (part->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
}

// Requires ForkLock::kDescriptors.
void adopt_descriptors(msghdr& header, Received& received) {
    std::size_t next = 0;
    for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
        for (std::size_t i = 0; i < descriptors_in(part); ++i) {
            int descriptor = -1;
            std::memcpy(&descriptor, CMSG_DATA(part) + i * sizeof(int), sizeof descriptor);
            base::Fd owned(descriptor);
            if (next < received.descriptors.size())
                received.descriptors[next++] = notify::GuardedFd::adopt_locked(std::move(owned));
        }
    }
}

}  // namespace

base::Result<sockaddr_un> socket_address(std::string_view scheme, std::string_view path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty())
        return base::fail(VMRPC_BAD_ADDRESS,
                          fmt::format("{}: needs the path of a socket, as {}:/run/name.sock", scheme, scheme));
    if (path.find('\0') != std::string_view::npos)
        return base::fail(VMRPC_BAD_ADDRESS, fmt::format("{}: the path holds a NUL character", scheme));
    if (path.size() >= sizeof address.sun_path)
        return base::fail(VMRPC_BAD_ADDRESS,
                          fmt::format("{}:{}: the path has {} bytes, a socket's path at most {}: use a shorter one",
                                      scheme, path, path.size(), sizeof address.sun_path - 1));
    path.copy(address.sun_path, path.size());
    return address;
}

base::Result<notify::GuardedFd> make_socket(int type) {
    auto socket =
        notify::GuardedFd::made_by([type] { return ::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); });
    if (!socket.valid()) return base::fail_errno("cannot make a Unix socket", errno);
    return socket;
}

Peer peer_of(int socket) {
    ucred credentials{};
    socklen_t bytes = sizeof credentials;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0) return {};
    return {.uid = credentials.uid, .gid = credentials.gid, .pid = static_cast<std::uint32_t>(credentials.pid)};
}

notify::GuardedFd peer_process(int socket) {
    auto process = notify::GuardedFd::made_by([socket] {
        int descriptor = -1;
        socklen_t bytes = sizeof descriptor;
        return ::getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &descriptor, &bytes) == 0 ? descriptor : -1;
    });
    if (process.valid()) return process;
    const Peer peer = peer_of(socket);
    if (peer.pid == 0) return {};  // in a PID namespace that cannot be seen from here
    process = notify::GuardedFd::made_by(
        [&peer] { return static_cast<int>(::syscall(SYS_pidfd_open, static_cast<pid_t>(peer.pid), 0)); });
    // The number may be another process's by now, but not while the peer still has its end open.
    if (has_ended(socket)) process.reset();
    return process;
}

base::Status send_message(int socket, std::span<const std::byte> message, std::span<const int> descriptors) {
    alignas(cmsghdr) std::array<char, kControlBytes> control{};
    iovec part{.iov_base = const_cast<std::byte*>(message.data()), .iov_len = message.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (!descriptors.empty()) {
        header.msg_control = control.data();
        header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
        cmsghdr* rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(descriptors.size_bytes());
        std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size_bytes());
    }
    if (::sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return {};
    return base::fail_errno("cannot send to the peer", errno);
}

Received receive_message(int socket, std::span<std::byte> into, Descriptors descriptors) {
    alignas(cmsghdr) std::array<char, kControlBytes> control{};
    iovec part{.iov_base = into.data(), .iov_len = into.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    const bool wanted = descriptors == Descriptors::kWanted;
    if (wanted) {
        header.msg_control = control.data();
        header.msg_controllen = control.size();
    }
    Received received;
    const std::lock_guard lock(fork_lock(notify::ForkLock::kDescriptors));
    const ssize_t got = ::recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got <= 0) {
        const bool later = got < 0 && (errno == EAGAIN || errno == EINTR);
        received.arrival = later ? Arrival::kNothingYet : Arrival::kEnd;
        return received;
    }
    received.arrival = Arrival::kMessage;
    received.bytes = static_cast<std::size_t>(got);
    received.is_whole = (header.msg_flags & MSG_TRUNC) == 0 && !(wanted && (header.msg_flags & MSG_CTRUNC) != 0);
    if (wanted) adopt_descriptors(header, received);
    return received;
}

base::Status wait_readable(int socket, base::Deadline deadline) {
    while (true) {
        pollfd poll{.fd = socket, .events = POLLIN, .revents = 0};
        const int ready = ::poll(&poll, 1, deadline.remaining_ms());
        if (ready > 0) return {};
        if (ready < 0 && errno != EINTR) return base::fail_errno("cannot wait for the server", errno);
        if (deadline.passed()) return base::fail(VMRPC_TIMED_OUT, "the time limit passed");
    }
}

}  // namespace vmrpc::transport
