// What the guest sends: VsockDevice's half that takes packets.
#include "transport/vm/vsock/vsock_device.hpp"

#include <fmt/format.h>

#include <bit>

namespace vmrpc::transport::vm::vsock {

base::Result<Event> VsockDevice::next_event(std::span<std::byte> into) {
    if (const auto told = next_told()) return *told;
    if (!rings_[kFromGuest].is_running() || memory_ == nullptr) return Event{};
    if (resets_.size() >= kMostResets) return Event{};  // until the guest has made room for them
    return take_packet(into);
}

std::optional<Event> VsockDevice::next_told() {
    if (!lost_.empty()) {
        const StreamId id = lost_.back();
        lost_.pop_back();
        return Event{.kind = Event::Kind::kClosed, .stream = id};
    }
    if (sendable_ == 0) return std::nullopt;
    const auto slot = static_cast<std::uint32_t>(std::countr_zero(sendable_));
    sendable_ &= ~bit(slot);
    return Event{.kind = Event::Kind::kSendable, .stream = id_of(slot)};
}

base::Result<Event> VsockDevice::take_packet(std::span<std::byte> into) {
    Virtqueue& ring = rings_[kFromGuest];
    Chain chain;
    auto taken = ring.take(*memory_, chain);
    if (taken && !*taken) {
        ring.want_kicks(true);
        taken = ring.take(*memory_, chain);  // one may have come before the guest saw that
    }
    if (!taken) return tl::unexpected(std::move(taken).error());
    if (!*taken) return Event{};
    ring.want_kicks(false);
    auto event = on_packet(chain, into);
    ring.give_back(chain.head, 0);
    return event;
}

base::Result<Event> VsockDevice::on_packet(const Chain& chain, std::span<std::byte> into) {
    virtio_vsock_hdr header{};
    if (chain.total_bytes < sizeof header)
        return base::fail(VMRPC_POISONED,
                          fmt::format("a packet of {} bytes, less than its header has", chain.total_bytes));
    chain.copy_out(0, std::as_writable_bytes(std::span(&header, 1)));
    if (header.len > kMaxPacketBytes || header.len > chain.total_bytes - sizeof header)
        return base::fail(VMRPC_POISONED, fmt::format("a packet says that it carries {} bytes, in buffers of {}",
                                                      std::uint32_t{header.len}, chain.total_bytes));
    if (header.src_cid != guest_cid_ || header.dst_cid != kHostCid) return Event{.kind = Event::Kind::kQuiet};
    const Ports ports{.guest = header.src_port, .host = header.dst_port};
    const bool is_stream = header.type == VIRTIO_VSOCK_TYPE_STREAM;
    const auto slot = is_stream ? find(ports) : std::nullopt;
    if (slot) return on_stream(*slot, header, chain, into);
    if (is_stream && header.op == VIRTIO_VSOCK_OP_REQUEST) return on_request(header);
    if (header.op != VIRTIO_VSOCK_OP_RST) resets_.push_back({.ports = ports, .type = header.type});
    return Event{.kind = Event::Kind::kQuiet};
}

Event VsockDevice::on_request(const virtio_vsock_hdr& header) {
    const Ports ports{.guest = header.src_port, .host = header.dst_port};
    for (std::uint32_t slot = 0; slot < kMaxStreams; ++slot) {
        Stream& stream = streams_[slot];
        if (stream.state != Stream::State::kFree) continue;
        ++stream.generation;
        stream.state = Stream::State::kOpening;
        stream.ports = ports;
        stream.take_credit(header);
        return {.kind = Event::Kind::kOpened, .stream = id_of(slot), .ports = ports};
    }
    resets_.push_back({.ports = ports, .type = VIRTIO_VSOCK_TYPE_STREAM});
    return {.kind = Event::Kind::kQuiet};
}

Event VsockDevice::on_stream(std::uint32_t slot, const virtio_vsock_hdr& header, const Chain& chain,
                             std::span<std::byte> into) {
    Stream& stream = streams_[slot];
    stream.take_credit(header);
    Event event{.kind = Event::Kind::kQuiet};
    switch (header.op) {
        case VIRTIO_VSOCK_OP_RST:
            return lose(slot);
        case VIRTIO_VSOCK_OP_SHUTDOWN:
            // Half a stream is of no use here: its end says that the process has ended, or wants no more of it.
            return (header.flags & kShutDown) != 0 ? reset(slot) : event;
        case VIRTIO_VSOCK_OP_RW:
            event = on_data(slot, header.len, chain, into);
            break;
        case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
            stream.owes_credit = true;
            break;
        case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
            break;
        default:
            return reset(slot);
    }
    if (event.kind != Event::Kind::kClosed) update(slot);
    return event;
}

Event VsockDevice::on_data(std::uint32_t slot, std::uint32_t bytes, const Chain& chain, std::span<std::byte> into) {
    Stream& stream = streams_[slot];
    if (stream.state != Stream::State::kOpen || bytes == 0) return {.kind = Event::Kind::kQuiet};
    if (bytes > kReceiveBytes - stream.held) return reset(slot);  // it has been told how much
    stream.held += bytes;
    chain.copy_out(sizeof(virtio_vsock_hdr), into.first(bytes));
    return {.kind = Event::Kind::kReceived, .stream = id_of(slot), .bytes = into.first(bytes)};
}

}  // namespace vmrpc::transport::vm::vsock
