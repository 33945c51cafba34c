#include "transport/vm/ring_reader.hpp"

#include "transport/vm/ram/ram_protocol.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace vmrpc::transport::vm {

static_assert(std::endian::native == std::endian::little, "a hello's entry is taken from its lowest byte");
static_assert(layout::kMaxDirectoryEntries <= 256, "which is all that there is of an entry");
static_assert((kStreamMagic & 0xff) >= kVectors && (kRamMagic & 0xff) >= kVectors, "no ring is a hello's first byte");

RingReader::Heard RingReader::take(std::span<const std::byte> bytes) {
    Heard heard;
    while (heard.bytes < bytes.size() && !heard.lends) take_one(bytes[heard.bytes++], heard);
    return heard;
}

void RingReader::take_one(std::byte byte, Heard& heard) {
    said_[count_++] = byte;
    if (may_become_lending()) {
        heard.lends = count_ == sizeof kRamMagic;
        return;
    }
    while (count_ > 0 && !may_become_hello()) drop_first(heard);
    if (count_ < said_.size()) return;
    heard.entry = std::to_integer<std::uint32_t>(said_[offsetof(StreamHello, entry)]);
    may_lend_ = false;
    count_ = 0;
}

bool RingReader::may_become_hello() const {
    const std::byte low = said_[offsetof(StreamHello, entry)];
    const std::uint32_t entry =
        count_ > offsetof(StreamHello, entry) ? std::to_integer<std::uint32_t>(low) : std::uint32_t{0};
    const StreamHello whole{.magic = kStreamMagic, .entry = entry, .segment_uuid = segment_};
    return entry < entries_ && std::memcmp(said_.data(), &whole, count_) == 0;
}

bool RingReader::may_become_lending() const {
    return may_lend_ && count_ <= sizeof kRamMagic && std::memcmp(said_.data(), &kRamMagic, count_) == 0;
}

void RingReader::drop_first(Heard& heard) {
    const std::byte first = said_[0];
    if (first == std::byte{kRequestVector})
        heard.requests = true;
    else if (first == std::byte{kDirectoryVector})
        heard.directory = true;
    else
        heard.has_nonsense = true;
    std::copy(said_.begin() + 1, said_.begin() + static_cast<std::ptrdiff_t>(count_), said_.begin());
    --count_;
}

void take_rings(const std::weak_ptr<Vm>& vm, const RingReader::Heard& heard) {
    if (!heard.requests && !heard.directory) return;
    const auto rung = vm.lock();
    if (rung == nullptr) return;
    if (heard.requests) rung->ring_requests();
    if (heard.directory) rung->ring_directory();
}

}  // namespace vmrpc::transport::vm
