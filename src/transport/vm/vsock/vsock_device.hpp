// The socket device (virtio 1.2, section 5.10) of one guest: streams that the guest opens to the host. It knows rings
// and packets, and nothing of descriptors, threads or QEMU.
#pragma once

#include "base/result.hpp"
#include "transport/vm/vsock/guest_memory.hpp"
#include "transport/vm/vsock/stream.hpp"
#include "transport/vm/vsock/virtqueue.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace vmrpc::transport::vm::vsock {

/// What the consumer is to be told next.
struct Event {
    enum class Kind {
        kIdle,   // nothing, and nothing is left to do
        kQuiet,  // nothing, but there may be more to do
        kOpened,
        kReceived,
        kSendable,
        kClosed,
    };
    Kind kind = Kind::kIdle;
    StreamId stream{};
    Ports ports{};                       // kOpened
    std::span<const std::byte> bytes{};  // kReceived: in the buffer that the caller gave
};

/// Threads: one at a time. Nothing blocks. An error of any function means that the guest or QEMU has broken the
/// protocol (VMRPC_POISONED, the text says how), unless it says otherwise: nothing but lose_all() may be called
/// afterwards.
class VsockDevice {
  public:
    explicit VsockDevice(std::uint64_t guest_cid);

    /// Returns what was set before. Requires that no ring runs.
    std::unique_ptr<GuestMemory> set_memory(std::unique_ptr<GuestMemory> memory) {
        return std::exchange(memory_, std::move(memory));
    }
    /// A ring that goes on where it stopped has the same streams: the VM was paused. If it begins elsewhere its driver
    /// is a new one, so the processes at the other ends are gone, and the streams are lost.
    void start_ring(std::uint32_t index, const RingPlace& place, std::uint16_t next);
    std::uint16_t stop_ring(std::uint32_t index) { return rings_[index].stop(); }
    /// Whether the guest is to be interrupted for that ring.
    [[nodiscard]] bool take_interrupt(std::uint32_t index) { return rings_[index].take_interrupt(); }

    /// Handles at most one packet from the guest. What a kReceived event brings is copied to `into`, which has room for
    /// kReceiveBytes. When it is answered with kIdle, the next kick, flush() or start_ring() may bring more.
    base::Result<Event> next_event(std::span<std::byte> into);
    /// Sends what waits, as far as the guest has room; at most kMostPackets packets. True: there is more, go on later.
    base::Result<bool> flush();
    static constexpr int kMostPackets = 64;
    /// Whether next_event() has something to tell that flush(), answer() or send() has brought about.
    [[nodiscard]] bool has_news() const { return !lost_.empty() || sendable_ != 0; }

    /// The answer to kOpened. Does nothing if the stream has ended meanwhile, as the others but for send() do.
    void answer(StreamId id, bool accept);
    /// The consumer is done with that much of what it received.
    void consume(StreamId id, std::size_t bytes);
    /// What waits is still sent; nothing more is told of the stream.
    void close(StreamId id);
    /// Puts it behind what waits; flush() sends it. Errors, which poison nothing: VMRPC_PEER_LOST (the stream has
    /// ended), VMRPC_BUSY (no room: kSendable follows when there is), VMRPC_BAD_ARGUMENT (more than there ever is room
    /// for).
    base::Status send(StreamId id, std::span<const std::byte> bytes);
    /// Ends every stream; returns those that the consumer knows, and has not been told of yet.
    std::vector<StreamId> lose_all();

  private:
    // Of sockets that are no streams of ours; while more wait, nothing is taken from the guest.
    struct Reset {
        Ports ports;
        std::uint16_t type = 0;
    };
    static constexpr std::size_t kMostResets = 64;

    static constexpr std::uint64_t bit(std::uint32_t slot) { return std::uint64_t{1} << slot; }
    [[nodiscard]] StreamId id_of(std::uint32_t slot) const;
    Stream* find(StreamId id, std::uint32_t& slot);
    [[nodiscard]] std::optional<std::uint32_t> find(const Ports& ports) const;
    void update(std::uint32_t slot);
    void free(std::uint32_t slot);
    Event lose(std::uint32_t slot);
    Event reset(std::uint32_t slot);

    base::Result<Event> take_packet(std::span<std::byte> into);
    base::Result<Event> on_packet(const Chain& chain, std::span<std::byte> into);
    Event on_stream(std::uint32_t slot, const virtio_vsock_hdr& header, const Chain& chain, std::span<std::byte> into);
    Event on_request(const virtio_vsock_hdr& header);
    Event on_data(std::uint32_t slot, std::uint32_t bytes, const Chain& chain, std::span<std::byte> into);
    std::optional<Event> next_told();

    [[nodiscard]] bool has_to_send() const { return !resets_.empty() || due_ != 0; }
    base::Result<bool> take_room(Chain& chain);
    void send_reset(const Chain& chain);
    void send_from(std::uint32_t slot, const Chain& chain);
    [[nodiscard]] virtio_vsock_hdr header_to(const Ports& ports, virtio_vsock_op op) const;
    void put(const Chain& chain, const virtio_vsock_hdr& header, std::span<const std::byte> data);

    std::uint64_t guest_cid_;
    std::unique_ptr<GuestMemory> memory_;
    std::array<Virtqueue, kRings> rings_;
    std::vector<Stream> streams_;  // kMaxStreams
    std::uint64_t due_ = 0;        // a bit for each stream that has something to send
    std::uint64_t sendable_ = 0;   // of which that is to be told
    std::uint32_t turn_ = 0;       // whose turn it is to send
    std::vector<StreamId> lost_;   // of which that is to be told
    std::vector<Reset> resets_;
};

}  // namespace vmrpc::transport::vm::vsock
