// Takes vhost-user messages from a socket, in whatever pieces they come, without waiting for any.
#pragma once

#include "base/result.hpp"
#include "notify/fork_guard.hpp"
#include "transport/vm/vsock/vhost_messages.hpp"

#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

namespace vmrpc::transport::vm::vsock {

/// One message: its header is checked, its payload as long as the header says, and otherwise anything.
struct Message {
    MessageHeader header;
    std::span<const std::byte> payload;            // valid until the next read()
    std::vector<notify::GuardedFd> descriptors{};  // that came with it, at most kMaxRegions
};

/// That the payload has not the size that the request needs.
base::Status misfit(const MessageHeader& header);

/// A payload of just this type. Errors: misfit().
template <class T>
base::Result<T> payload_of(const Message& message) {
    T value{};
    if (message.payload.size() != sizeof value) return tl::unexpected(misfit(message.header).error());
    std::memcpy(&value, message.payload.data(), sizeof value);
    return value;
}

/// Threads: one at a time.
class MessageReader {
  public:
    enum class Progress {
        kMessage,  // take() it
        kPartial,  // the rest of a message is still to come
        kNothing,  // no byte of a next message is there
    };

    /// The socket is a stream's, non-blocking, and outlives this.
    explicit MessageReader(int socket) : socket_(socket) {}

    /// Reads at most one message; does not block. Errors: VMRPC_PEER_LOST (the other end is closed), VMRPC_POISONED
    /// (what came is no message).
    base::Result<Progress> read();
    /// Requires that read() has just said kMessage.
    Message take();

  private:
    base::Result<bool> read_until(std::size_t end);
    base::Status check_header() const;
    [[nodiscard]] MessageHeader header() const;

    int socket_;
    std::array<std::byte, sizeof(MessageHeader) + kMaxPayloadBytes> bytes_{};
    std::size_t got_ = 0;
    std::vector<notify::GuardedFd> descriptors_;
};

}  // namespace vmrpc::transport::vm::vsock
