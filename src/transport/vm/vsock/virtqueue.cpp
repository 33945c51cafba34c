#include "transport/vm/vsock/virtqueue.hpp"

#include "layout/shared_word.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

namespace vmrpc::transport::vm::vsock {
namespace {

struct UsedElement {
    std::uint32_t head = 0;
    std::uint32_t written_bytes = 0;
};
static_assert(sizeof(UsedElement) == 8);

constexpr std::uint16_t kHasNext = 1;  // of a descriptor
constexpr std::uint16_t kIsWritable = 2;
constexpr std::uint16_t kIsIndirect = 4;
constexpr std::uint16_t kNoInterrupt = 1;  // of the available area
constexpr std::uint16_t kNoKick = 1;       // of the used area

// Of the available and the used area: flags, index, entries.
constexpr std::size_t kFlagsOffset = 0;
constexpr std::size_t kIndexOffset = 2;
constexpr std::size_t kEntriesOffset = 4;

// Aligned, as locate() has checked.
std::atomic_ref<std::uint16_t> word_at(std::byte* area, std::size_t offset) {
    return std::atomic_ref(*reinterpret_cast<std::uint16_t*>(area + offset));
}

base::Result<std::byte*> area_at(const GuestMemory& memory, std::uint64_t address, std::uint64_t bytes,
                                 std::uint64_t alignment, const char* name) {
    std::byte* const area = memory.at_user(address, bytes);
    if (area == nullptr)
        return base::fail(VMRPC_POISONED, fmt::format("a ring's {}, {} bytes at {:#x}, lie outside the guest's memory",
                                                      name, bytes, address));
    if (reinterpret_cast<std::uintptr_t>(area) % alignment != 0)
        return base::fail(VMRPC_POISONED, fmt::format("a ring's {} are not aligned: {:#x}", name, address));
    return area;
}

}  // namespace

base::Result<RingPlace> RingPlace::locate(const GuestMemory& memory, std::uint32_t size, const RingAddress& address) {
    if (!std::has_single_bit(size) || size > kMaxSize)
        return base::fail(VMRPC_POISONED, fmt::format("a ring of {} descriptors", size));
    const auto descriptors = area_at(memory, address.descriptors, sizeof(Descriptor) * size, 16, "descriptors");
    if (!descriptors) return tl::unexpected(descriptors.error());
    // Each with the word of event indices behind it, which is there although it is not used.
    const auto available =
        area_at(memory, address.available, kEntriesOffset + std::uint64_t{2} * size + 2, 2, "available entries");
    if (!available) return tl::unexpected(available.error());
    const auto used = area_at(memory, address.used, kEntriesOffset + sizeof(UsedElement) * size + 2, 4, "used entries");
    if (!used) return tl::unexpected(used.error());
    return RingPlace{.size = size, .descriptors = *descriptors, .available = *available, .used = *used};
}

void Chain::copy_out(std::uint64_t offset, std::span<std::byte> into) const {
    for (const auto& buffer : std::span(buffers).first(buffers_used)) {
        if (into.empty()) return;
        const std::uint64_t skipped = std::min<std::uint64_t>(offset, buffer.size());
        const std::uint64_t copied = std::min<std::uint64_t>(buffer.size() - skipped, into.size());
        if (copied != 0) layout::copy_from_peer(into.data(), buffer.data() + skipped, copied);
        offset -= skipped;
        into = into.subspan(copied);
    }
}

void Chain::copy_in(std::uint64_t offset, std::span<const std::byte> from) const {
    for (const auto& buffer : std::span(buffers).first(buffers_used)) {
        if (from.empty()) return;
        const std::uint64_t skipped = std::min<std::uint64_t>(offset, buffer.size());
        const std::uint64_t copied = std::min<std::uint64_t>(buffer.size() - skipped, from.size());
        if (copied != 0) std::memcpy(buffer.data() + skipped, from.data(), copied);
        offset -= skipped;
        from = from.subspan(copied);
    }
}

void Virtqueue::start(const RingPlace& place, std::uint16_t next) {
    place_ = place;
    next_ = next;
    // What the device last published: zero in a new ring. Whatever the guest has made of it, it only counts on from
    // there.
    used_ = word_at(place_.used, kIndexOffset).load(std::memory_order_relaxed);
    has_given_back_ = false;
    wants_kicks_ = false;
    want_kicks(true);
}

std::uint16_t Virtqueue::stop() {
    place_ = {};
    return next_;
}

base::Result<bool> Virtqueue::take(const GuestMemory& memory, Chain& chain) {
    // acquire: pairs with the driver's barrier between an entry, its descriptors and buffers, and this index
    const std::uint16_t available = word_at(place_.available, kIndexOffset).load(std::memory_order_acquire);
    const auto ahead = static_cast<std::uint16_t>(available - next_);
    if (ahead == 0) return false;
    if (ahead > place_.size)
        return base::fail(VMRPC_POISONED, fmt::format("the index of available entries has jumped from {} to {}, in a "
                                                      "ring of {}",
                                                      next_, available, place_.size));
    const std::size_t entry = next_ & (place_.size - 1);
    chain.head = word_at(place_.available, kEntriesOffset + 2 * entry).load(std::memory_order_relaxed);
    VMRPC_TRY(follow(memory, chain));
    ++next_;
    return true;
}

base::Status Virtqueue::follow(const GuestMemory& memory, Chain& chain) const {
    chain.buffers_used = 0;
    chain.total_bytes = 0;
    const std::uint32_t most = std::min(place_.size, Chain::kMaxBuffers);
    for (std::uint32_t index = chain.head;;) {
        if (index >= place_.size)
            return base::fail(VMRPC_POISONED, fmt::format("descriptor {} in a ring of {}", index, place_.size));
        if (chain.buffers_used == most)
            return base::fail(VMRPC_POISONED, fmt::format("a chain of more than {} descriptors, or a loop", most));
        Descriptor descriptor;
        layout::copy_from_peer(&descriptor, place_.descriptors + index * sizeof descriptor, sizeof descriptor);
        VMRPC_TRY(add(memory, descriptor, chain));
        if ((descriptor.flags & kHasNext) == 0) return {};
        index = descriptor.next;
    }
}

base::Status Virtqueue::add(const GuestMemory& memory, const Descriptor& descriptor, Chain& chain) const {
    if ((descriptor.flags & kIsIndirect) != 0)
        return base::fail(VMRPC_POISONED, "an indirect descriptor, which was not offered");
    if (((descriptor.flags & kIsWritable) != 0) != (direction_ == Direction::kWriteOnly))
        return base::fail(VMRPC_POISONED, "a buffer of the wrong direction");
    std::byte* const data = memory.at_guest(descriptor.address, descriptor.bytes);
    if (data == nullptr)
        return base::fail(VMRPC_POISONED, fmt::format("a buffer of {} bytes at {:#x} lies outside the guest's memory",
                                                      descriptor.bytes, descriptor.address));
    chain.buffers[chain.buffers_used++] = {data, descriptor.bytes};
    chain.total_bytes += descriptor.bytes;
    return {};
}

void Virtqueue::give_back(std::uint16_t head, std::uint32_t written_bytes) {
    const UsedElement element{.head = head, .written_bytes = written_bytes};
    const std::size_t entry = used_ & (place_.size - 1);
    std::memcpy(place_.used + kEntriesOffset + entry * sizeof element, &element, sizeof element);
    ++used_;
    // release: the element and the buffers come before; pairs with the driver's barrier behind its look at the index
    word_at(place_.used, kIndexOffset).store(used_, std::memory_order_release);
    has_given_back_ = true;
}

bool Virtqueue::take_interrupt() {
    if (!has_given_back_ || !is_running()) return false;
    has_given_back_ = false;
    // seq_cst: pairs with the driver's, between its wish to be told and its last look at the index
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const std::uint16_t flags = word_at(place_.available, kFlagsOffset).load(std::memory_order_relaxed);
    return (flags & kNoInterrupt) == 0;
}

void Virtqueue::want_kicks(bool wanted) {
    if (wanted == wants_kicks_) return;
    wants_kicks_ = wanted;
    word_at(place_.used, kFlagsOffset).store(wanted ? 0 : kNoKick, std::memory_order_relaxed);
    // seq_cst: pairs with the driver's, between making a chain available and its look at these flags
    if (wanted) std::atomic_thread_fence(std::memory_order_seq_cst);
}

}  // namespace vmrpc::transport::vm::vsock
