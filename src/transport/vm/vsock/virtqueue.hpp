// A split virtqueue (virtio 1.2, section 2.7) as the device sees it. The guest's driver makes chains of buffers
// available, the device gives them back as used. Neither indirect descriptors nor event indices are offered.
//
// All of it lies in the guest's memory, and the guest may write there what it likes, whenever it likes. So every value
// is loaded once and checked before it is used, and what the device itself goes by (which chain is next, how many it
// has given back) it keeps here.
#pragma once

#include "base/result.hpp"
#include "transport/vm/vsock/guest_memory.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace vmrpc::transport::vm::vsock {

struct Descriptor {
    std::uint64_t address = 0;  // the guest's physical one
    std::uint32_t bytes = 0;
    std::uint16_t flags = 0;
    std::uint16_t next = 0;
};
static_assert(sizeof(Descriptor) == 16);

/// Where a ring is in this process: three areas, which lie in the guest's memory and are aligned as virtio wants them.
struct RingPlace {
    static constexpr std::uint32_t kMaxSize = 1024;  // descriptors; a power of two

    /// Finds a ring by QEMU's addresses. Errors: VMRPC_POISONED (a size or an address that cannot be).
    static base::Result<RingPlace> locate(const GuestMemory& memory, std::uint32_t size, const RingAddress& address);

    std::uint32_t size = 0;
    std::byte* descriptors = nullptr;
    std::byte* available = nullptr;
    std::byte* used = nullptr;
};

/// A chain of buffers, checked. Its bytes may change at any time.
struct Chain {
    /// More than a Linux guest ever uses for a packet: a header, and one for each fragment of an skb.
    static constexpr std::uint32_t kMaxBuffers = 64;

    std::uint16_t head = 0;
    std::uint32_t buffers_used = 0;
    std::uint64_t total_bytes = 0;                            // of all buffers
    std::array<std::span<std::byte>, kMaxBuffers> buffers{};  // the first `buffers_used` of them

    /// Copies from the chain's bytes at `offset`. Requires that they are there.
    void copy_out(std::uint64_t offset, std::span<std::byte> into) const;
    /// Copies into the chain's bytes at `offset`. Requires that there is room.
    void copy_in(std::uint64_t offset, std::span<const std::byte> from) const;
};

/// Threads: one at a time.
class Virtqueue {
  public:
    enum class Direction { kReadOnly, kWriteOnly };  // the buffers, for the device
    explicit Virtqueue(Direction direction) : direction_(direction) {}

    /// `next` is the chain to begin with, counted from the ring's first use.
    void start(const RingPlace& place, std::uint16_t next);
    /// From now on the ring is not touched. Returns the chain that would have been next. Also if it does not run.
    std::uint16_t stop();
    [[nodiscard]] bool is_running() const { return place_.size != 0; }
    [[nodiscard]] std::uint16_t next() const { return next_; }

    /// Takes the next chain, if the driver has made one available. Requires that the ring runs.
    /// Errors: VMRPC_POISONED (the text says what is wrong with the ring; it must not be used any more).
    base::Result<bool> take(const GuestMemory& memory, Chain& chain);
    /// Gives a chain back that was taken, of which that many bytes were written.
    void give_back(std::uint16_t head, std::uint32_t written_bytes);
    /// Whether chains were given back since the last call of which the driver wants to be told by an interrupt.
    [[nodiscard]] bool take_interrupt();
    /// Asks the driver to kick after it has made chains available, or not to. A hint: look once more after asking.
    void want_kicks(bool wanted);

  private:
    base::Status follow(const GuestMemory& memory, Chain& chain) const;
    base::Status add(const GuestMemory& memory, const Descriptor& descriptor, Chain& chain) const;

    Direction direction_;
    RingPlace place_;
    std::uint16_t next_ = 0;
    std::uint16_t used_ = 0;
    bool has_given_back_ = false;
    bool wants_kicks_ = true;
};

}  // namespace vmrpc::transport::vm::vsock
