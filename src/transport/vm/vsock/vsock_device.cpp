#include "transport/vm/vsock/vsock_device.hpp"

#include <fmt/format.h>

#include <bit>
#include <cstring>

namespace vmrpc::transport::vm::vsock {
namespace {

constexpr std::uint32_t kSlotBits = 6;
static_assert(kMaxStreams == 1U << kSlotBits, "a bit of a word for each stream");

}  // namespace

VsockDevice::VsockDevice(std::uint64_t guest_cid)
    : guest_cid_(guest_cid),
      rings_{Virtqueue(Virtqueue::Direction::kWriteOnly), Virtqueue(Virtqueue::Direction::kReadOnly),
             Virtqueue(Virtqueue::Direction::kWriteOnly)},
      streams_(kMaxStreams) {}

void VsockDevice::start_ring(std::uint32_t index, const RingPlace& place, std::uint16_t next) {
    if (index == kFromGuest && next != rings_[index].next()) lost_ = lose_all();
    rings_[index].start(place, next);
    rings_[index].want_kicks(index == kFromGuest);  // for the other direction only when room is short
}

StreamId VsockDevice::id_of(std::uint32_t slot) const {
    return StreamId{streams_[slot].generation << kSlotBits | slot};
}

Stream* VsockDevice::find(StreamId id, std::uint32_t& slot) {
    const auto number = static_cast<std::uint64_t>(id);
    slot = static_cast<std::uint32_t>(number % kMaxStreams);
    Stream& stream = streams_[slot];
    const bool is_it = stream.state != Stream::State::kFree && stream.state != Stream::State::kClosing &&
                       stream.generation == number >> kSlotBits;
    return is_it ? &stream : nullptr;
}

std::optional<std::uint32_t> VsockDevice::find(const Ports& ports) const {
    for (std::uint32_t slot = 0; slot < kMaxStreams; ++slot)
        if (streams_[slot].state != Stream::State::kFree && streams_[slot].ports == ports) return slot;
    return std::nullopt;
}

// After everything that may have changed what the stream has to send.
void VsockDevice::update(std::uint32_t slot) {
    if (streams_[slot].has_to_send())
        due_ |= bit(slot);
    else
        due_ &= ~bit(slot);
}

void VsockDevice::free(std::uint32_t slot) {
    const std::uint64_t generation = streams_[slot].generation;
    streams_[slot] = {};
    streams_[slot].generation = generation;
    due_ &= ~bit(slot);
    sendable_ &= ~bit(slot);
}

// The end of a stream, and what the consumer is told of it.
Event VsockDevice::lose(std::uint32_t slot) {
    const bool is_known = streams_[slot].state == Stream::State::kOpen;
    const StreamId id = id_of(slot);
    free(slot);
    if (!is_known) return {.kind = Event::Kind::kQuiet};
    return {.kind = Event::Kind::kClosed, .stream = id};
}

Event VsockDevice::reset(std::uint32_t slot) {
    resets_.push_back({.ports = streams_[slot].ports, .type = VIRTIO_VSOCK_TYPE_STREAM});
    return lose(slot);
}

std::vector<StreamId> VsockDevice::lose_all() {
    std::vector<StreamId> lost = std::exchange(lost_, {});
    for (std::uint32_t slot = 0; slot < kMaxStreams; ++slot)
        if (const Event event = lose(slot); event.kind == Event::Kind::kClosed) lost.push_back(event.stream);
    resets_.clear();
    return lost;
}

void VsockDevice::answer(StreamId id, bool accept) {
    std::uint32_t slot = 0;
    Stream* const stream = find(id, slot);
    if (stream == nullptr || stream->state != Stream::State::kOpening) return;
    if (!accept) {
        reset(slot);
        return;
    }
    stream->state = Stream::State::kOpen;
    stream->owes_response = true;
    update(slot);
}

void VsockDevice::consume(StreamId id, std::size_t bytes) {
    std::uint32_t slot = 0;
    Stream* const stream = find(id, slot);
    if (stream == nullptr) return;
    const auto done = static_cast<std::uint32_t>(std::min<std::size_t>(bytes, stream->held));
    stream->held -= done;
    stream->consumed += done;
    update(slot);
}

void VsockDevice::close(StreamId id) {
    std::uint32_t slot = 0;
    Stream* const stream = find(id, slot);
    if (stream == nullptr) return;
    if (stream->state == Stream::State::kOpening) {
        reset(slot);
        return;
    }
    stream->state = Stream::State::kClosing;
    sendable_ &= ~bit(slot);
    update(slot);
}

base::Status VsockDevice::send(StreamId id, std::span<const std::byte> bytes) {
    std::uint32_t slot = 0;
    Stream* const stream = find(id, slot);
    if (stream == nullptr) return base::fail(VMRPC_PEER_LOST, "the stream to the guest's process has ended");
    if (bytes.size() > kSendBytes)
        return base::fail(VMRPC_BAD_ARGUMENT,
                          fmt::format("a stream takes {} bytes at once, not {}", kSendBytes, bytes.size()));
    if (!stream->waiting.has_room(bytes.size())) {
        stream->was_refused = true;
        return base::fail(VMRPC_BUSY, "the guest's process does not read what it was sent");
    }
    stream->waiting.append(bytes);
    update(slot);
    return {};
}

}  // namespace vmrpc::transport::vm::vsock
