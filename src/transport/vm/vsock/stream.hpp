// One stream between a process of the guest and this one: its ports, its credit both ways, and what waits to be sent.
#pragma once

#include "base/result.hpp"

#include <linux/virtio_vsock.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vmrpc::transport::vm::vsock {

/// Names a stream for as long as the backend lives; never used twice. No stream has 0.
enum class StreamId : std::uint64_t {};

inline constexpr std::uint64_t kHostCid = 2;
inline constexpr std::uint32_t kMaxStreams = 64;           // of one guest
inline constexpr std::uint32_t kReceiveBytes = 16 * 1024;  // of a stream, that the consumer has not taken yet
inline constexpr std::uint32_t kSendBytes = 16 * 1024;     // of a stream, that the guest has not had room for yet

inline constexpr std::uint32_t kMaxPacketBytes = 64 * 1024;  // as Linux has it
inline constexpr std::uint32_t kShutDown = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND;
static_assert(sizeof(virtio_vsock_hdr) == 44);

struct Ports {
    std::uint32_t guest = 0;
    std::uint32_t host = 0;
    friend bool operator==(const Ports&, const Ports&) = default;
};

/// Bytes in order, at most kSendBytes.
class SendBuffer {
  public:
    [[nodiscard]] std::size_t size() const { return bytes_.size() - begin_; }
    [[nodiscard]] bool has_room(std::size_t bytes) const { return bytes <= kSendBytes - size(); }
    /// Requires that there is room.
    void append(std::span<const std::byte> bytes) {
        bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(begin_));
        begin_ = 0;
        bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    }
    [[nodiscard]] std::span<const std::byte> front(std::size_t bytes) const {
        return std::span(bytes_).subspan(begin_, bytes);
    }
    void drop_front(std::size_t bytes) { begin_ += bytes; }

  private:
    std::vector<std::byte> bytes_;
    std::size_t begin_ = 0;
};

/// Counters of bytes wrap, as the protocol's do.
struct Stream {
    enum class State {
        kFree,
        kOpening,  // the consumer is being asked
        kOpen,
        kClosing,  // the consumer has closed it: what is left is sent, then its end
    };

    State state = State::kFree;
    std::uint64_t generation = 0;  // of the place in the table
    Ports ports;

    // What the guest sends: it may be ahead of what was consumed by kReceiveBytes.
    std::uint32_t held = 0;      // the consumer has them and has not said that it is done
    std::uint32_t consumed = 0;  // in all
    std::uint32_t consumed_as_told = 0;
    bool owes_credit = false;  // the guest has asked

    // What the guest is sent: what it says of its room is believed, as it can only starve itself with it.
    std::uint32_t sent = 0;
    std::uint32_t peer_room = 0;
    std::uint32_t peer_consumed = 0;
    bool has_asked_for_credit = false;
    SendBuffer waiting;
    bool was_refused = false;  // the consumer is to be told when there is room again

    bool owes_response = false;

    void take_credit(const virtio_vsock_hdr& header) {
        if (header.buf_alloc != peer_room || header.fwd_cnt != peer_consumed) has_asked_for_credit = false;
        peer_room = header.buf_alloc;
        peer_consumed = header.fwd_cnt;
    }
    /// How much more the guest takes.
    [[nodiscard]] std::uint32_t credit() const {
        const std::uint32_t under_way = sent - peer_consumed;
        return under_way > peer_room ? 0 : peer_room - under_way;
    }
    /// The guest believes that little of its room is left, and is wrong.
    [[nodiscard]] bool should_tell_credit() const {
        return owes_credit ||
               (held + (consumed - consumed_as_told) > kReceiveBytes / 2 && consumed != consumed_as_told);
    }
    /// Of what waits, if the guest has room for it or has not been asked for any.
    [[nodiscard]] bool has_data_to_send() const {
        return waiting.size() != 0 && (credit() != 0 || !has_asked_for_credit);
    }
    [[nodiscard]] bool has_to_send() const {
        if (state == State::kOpen) return owes_response || has_data_to_send() || should_tell_credit();
        if (state == State::kClosing) return owes_response || has_data_to_send() || waiting.size() == 0;
        return false;
    }
};

}  // namespace vmrpc::transport::vm::vsock
