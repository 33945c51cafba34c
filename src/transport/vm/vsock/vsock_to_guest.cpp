// What the guest is sent: VsockDevice's half that writes packets.
#include "transport/vm/vsock/vsock_device.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

namespace vmrpc::transport::vm::vsock {

base::Result<bool> VsockDevice::flush() {
    Virtqueue& ring = rings_[kToGuest];
    if (!ring.is_running() || memory_ == nullptr) return false;
    for (int packets = 0; has_to_send(); ++packets) {
        if (packets == kMostPackets) return true;
        Chain chain;
        const auto has_room = take_room(chain);
        if (!has_room) return tl::unexpected(has_room.error());
        if (!*has_room) return false;  // the guest kicks when it has made some
        if (!resets_.empty()) {
            send_reset(chain);
        } else {
            const auto ahead = static_cast<std::uint32_t>(std::countr_zero(std::rotr(due_, static_cast<int>(turn_))));
            const std::uint32_t slot = (turn_ + ahead) % kMaxStreams;
            turn_ = (slot + 1) % kMaxStreams;
            send_from(slot, chain);
        }
    }
    return false;
}

base::Result<bool> VsockDevice::take_room(Chain& chain) {
    Virtqueue& ring = rings_[kToGuest];
    auto taken = ring.take(*memory_, chain);
    if (taken && !*taken) {
        ring.want_kicks(true);
        taken = ring.take(*memory_, chain);
    }
    if (!taken || !*taken) return taken;
    ring.want_kicks(false);
    if (chain.total_bytes <= sizeof(virtio_vsock_hdr))
        return base::fail(VMRPC_POISONED, fmt::format("room for packets of {} bytes", chain.total_bytes));
    return true;
}

void VsockDevice::send_reset(const Chain& chain) {
    virtio_vsock_hdr header = header_to(resets_.front().ports, VIRTIO_VSOCK_OP_RST);
    header.type = resets_.front().type;
    resets_.erase(resets_.begin());
    put(chain, header, {});
}

// One packet; which one it is in the order in which they matter.
void VsockDevice::send_from(std::uint32_t slot, const Chain& chain) {
    Stream& stream = streams_[slot];
    std::span<const std::byte> data;
    virtio_vsock_op op = VIRTIO_VSOCK_OP_CREDIT_UPDATE;
    if (stream.owes_response) {
        op = VIRTIO_VSOCK_OP_RESPONSE;
        stream.owes_response = false;
    } else if (stream.waiting.size() != 0 && stream.credit() != 0) {
        op = VIRTIO_VSOCK_OP_RW;
        const std::uint64_t room =
            std::min<std::uint64_t>(chain.total_bytes - sizeof(virtio_vsock_hdr), kMaxPacketBytes);
        data = stream.waiting.front(std::min<std::uint64_t>({room, stream.waiting.size(), stream.credit()}));
    } else if (stream.has_data_to_send()) {
        op = VIRTIO_VSOCK_OP_CREDIT_REQUEST;
        stream.has_asked_for_credit = true;
    } else if (stream.state == Stream::State::kClosing) {
        op = VIRTIO_VSOCK_OP_SHUTDOWN;
    }
    virtio_vsock_hdr header = header_to(stream.ports, op);
    header.len = static_cast<std::uint32_t>(data.size());
    header.flags = op == VIRTIO_VSOCK_OP_SHUTDOWN ? kShutDown : 0;
    header.buf_alloc = kReceiveBytes;
    header.fwd_cnt = stream.consumed;
    put(chain, header, data);
    stream.consumed_as_told = stream.consumed;
    stream.owes_credit = false;
    stream.sent += static_cast<std::uint32_t>(data.size());
    stream.waiting.drop_front(data.size());
    if (stream.was_refused && stream.waiting.size() <= kSendBytes / 2) {
        stream.was_refused = false;
        if (stream.state == Stream::State::kOpen) sendable_ |= bit(slot);
    }
    if (op == VIRTIO_VSOCK_OP_SHUTDOWN)
        free(slot);
    else
        update(slot);
}

virtio_vsock_hdr VsockDevice::header_to(const Ports& ports, virtio_vsock_op op) const {
    virtio_vsock_hdr header{};
    header.src_cid = kHostCid;
    header.dst_cid = guest_cid_;
    header.src_port = ports.host;
    header.dst_port = ports.guest;
    header.type = VIRTIO_VSOCK_TYPE_STREAM;
    header.op = static_cast<std::uint16_t>(op);
    return header;
}

void VsockDevice::put(const Chain& chain, const virtio_vsock_hdr& header, std::span<const std::byte> data) {
    chain.copy_in(0, std::as_bytes(std::span(&header, 1)));
    chain.copy_in(sizeof header, data);
    rings_[kToGuest].give_back(chain.head, static_cast<std::uint32_t>(sizeof header + data.size()));
}

}  // namespace vmrpc::transport::vm::vsock
