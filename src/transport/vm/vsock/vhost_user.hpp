// The vhost-user protocol on one connection from QEMU: what QEMU says is checked here, and what it means for rings and
// memory is passed on.
#pragma once

#include "base/result.hpp"
#include "transport/vm/vsock/guest_memory.hpp"
#include "transport/vm/vsock/message_reader.hpp"
#include "transport/vm/vsock/virtqueue.hpp"

#include <array>
#include <cstdint>
#include <memory>

namespace vmrpc::transport::vm::vsock {

/// The device whose rings QEMU sets up. All calls come from within VhostUser::receive().
class RingOwner {
  public:
    RingOwner() = default;
    RingOwner(const RingOwner&) = delete;
    RingOwner& operator=(const RingOwner&) = delete;
    virtual ~RingOwner() = default;

    /// The guest's memory from now on; no ring runs.
    virtual void set_memory(std::unique_ptr<GuestMemory> memory) = 0;
    /// The ring lies in the memory that was set last. It runs until stop_ring().
    virtual void start_ring(std::uint32_t index, const RingPlace& place, std::uint16_t next) = 0;
    /// After this returns no byte of the ring and its buffers is touched. Returns the chain that would have been next.
    virtual std::uint16_t stop_ring(std::uint32_t index) = 0;
    /// What the guest kicks, in place of what it kicked before; may be anything that can be polled. Errors: those of
    /// notify::watch.
    virtual base::Status set_kick(std::uint32_t index, notify::GuardedFd kick) = 0;
    /// A non-blocking eventfd that interrupts the guest, or none, in place of the one before.
    virtual void set_call(std::uint32_t index, notify::GuardedFd call) = 0;
};

/// Threads: one at a time.
class VhostUser {
  public:
    /// `socket` (a stream's, non-blocking) and `owner` outlive this. `guest_cid` is what the guest's driver is told.
    VhostUser(int socket, std::uint64_t guest_cid, RingOwner& owner)
        : socket_(socket), guest_cid_(guest_cid), owner_(owner), reader_(socket) {}

    /// Takes at most one message and does what it says. Does not block.
    /// Errors, after each of which the connection must be given up: VMRPC_PEER_LOST (QEMU has ended),
    /// VMRPC_OUT_OF_RESOURCES (also: QEMU does not read), VMRPC_POISONED (the text says what QEMU did).
    base::Result<MessageReader::Progress> receive();

  private:
    struct Ring {
        std::uint32_t size = 0;
        RingAddress address;
        bool has_address = false;
        bool has_kick = false;
        bool is_enabled = false;
        bool is_running = false;
        std::uint16_t next = 0;  // while it does not run
    };

    base::Status handle(Message& message);
    base::Status handle_ring(Message& message);
    base::Status reply(const MessageHeader& to, std::span<const std::byte> payload);
    base::Status reply_word(const MessageHeader& to, std::uint64_t word);
    base::Status set_features(std::uint64_t features);
    base::Status set_protocol_features(std::uint64_t features) const;
    base::Status set_memory_table(Message& message);
    base::Status set_ring_size(const RingState& state);
    base::Status set_ring_address(const RingAddress& address);
    base::Status set_ring_base(const RingState& state);
    base::Status get_ring_base(const MessageHeader& header, const RingState& state);
    base::Status set_ring_eventfd(Message& message);
    base::Status enable_ring(const RingState& state);
    base::Status get_config(const Message& message);
    base::Status run_if_ready(std::uint32_t index);
    void stop(std::uint32_t index);
    void stop_all();

    int socket_;
    std::uint64_t guest_cid_;
    RingOwner& owner_;
    MessageReader reader_;
    const GuestMemory* memory_ = nullptr;  // the owner's
    std::array<Ring, kRings> rings_;
};

}  // namespace vmrpc::transport::vm::vsock
