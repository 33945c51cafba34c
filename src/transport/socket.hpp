// Unix sockets as hand-shakes need them. Every call here is non-blocking, and none raises SIGPIPE.
#pragma once

#include "base/clock.hpp"
#include "base/result.hpp"
#include "notify/fork_guard.hpp"
#include "transport/transport.hpp"

#include <sys/un.h>

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace vmrpc::transport {

/// Errors: VMRPC_BAD_ADDRESS for a path that is empty, too long or holds a NUL; the text names `scheme`.
base::Result<sockaddr_un> socket_address(std::string_view scheme, std::string_view path);

/// A non-blocking socket; `type` is SOCK_SEQPACKET or SOCK_STREAM. Errors: VMRPC_OUT_OF_RESOURCES.
base::Result<notify::GuardedFd> make_socket(int type);

/// Who is at the other end, as the kernel noted when the connection was made.
Peer peer_of(int socket);

/// A descriptor that becomes readable when the process at the other end has died; none if the kernel cannot tell.
/// Made here from what the kernel knows of the socket, not passed by the peer.
notify::GuardedFd peer_process(int socket);

/// Sends one message. Errors: VMRPC_PEER_LOST, VMRPC_OUT_OF_RESOURCES (also: the peer does not read).
base::Status send_message(int socket, std::span<const std::byte> message, std::span<const int> descriptors = {});

enum class Arrival {
    kMessage,
    kNothingYet,
    kEnd,  // the peer has closed its end, or is gone
};

struct Received {
    Arrival arrival = Arrival::kNothingYet;
    std::size_t bytes = 0;                         // of the message, as many as `into` holds
    bool is_whole = true;                          // false: longer than `into`, or descriptors had no room
    std::array<notify::GuardedFd, 2> descriptors;  // CLOEXEC; only if wanted
};

enum class Descriptors { kRefused, kWanted };

/// Receives one message, if one is there. Descriptors that are refused are dropped by the kernel, unseen.
Received receive_message(int socket, std::span<std::byte> into, Descriptors descriptors = Descriptors::kRefused);

/// Waits until the socket can be read or has ended. Errors: VMRPC_TIMED_OUT.
base::Status wait_readable(int socket, base::Deadline deadline);

template <class Message>
std::span<const std::byte> bytes_of(const Message& message) {
    return std::as_bytes(std::span(&message, 1));
}
template <class Message>
std::span<std::byte> writable_bytes_of(Message& message) {
    return std::as_writable_bytes(std::span(&message, 1));
}

}  // namespace vmrpc::transport
