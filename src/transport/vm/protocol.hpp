// What QEMU, the server and the guest's processes agree on, beyond what lies in the segment.
//
// Between QEMU and the server: QEMU's ivshmem protocol (docs/specs/ivshmem-spec in QEMU's source). The server sends
// little-endian 8-byte messages over a Unix stream socket, some with a descriptor; QEMU never sends anything.
//
//     0                the protocol's version
//     1                the VM's own peer number
//     -1 + memory      the segment; where that is another device's memory, a page with a DoorbellCard
//     0 + eventfd      the server, one message for each vector: what the guest writes to its doorbell rings these
//     1 + eventfd      the VM itself, one message for each vector: interrupts into the guest. Vector 0 has no meaning,
//                      vector 1 + i rings the process that has entry i of the directory. A device of fewer vectors
//                      leaves the others out, and QEMU says so.
//
// Every VM is alone with the server: it is always peer 1, the server peer 0, and its segment is nobody else's.
#pragma once

#include "layout/segment.hpp"
#include "layout/wild.hpp"

#include <array>
#include <cstdint>

namespace vmrpc::transport::vm {

inline constexpr std::int64_t kProtocolVersion = 0;
inline constexpr std::int64_t kServerPeer = 0;
inline constexpr std::int64_t kVmPeer = 1;
inline constexpr std::int64_t kMemoryFollows = -1;

/// What the server's vectors mean.
enum Vector : std::uint32_t {
    kRequestVector = 0,    // a client calls: rings the serving thread
    kDirectoryVector = 1,  // a claim has changed: rings the housekeeper, never the serving thread
    kVectors = 2,
    kLeave = 3,  // on a stream of memory=ram alone: the process wants its pages back, its segment ends
};

/// The vector that rings the process that has this entry of the directory.
constexpr std::uint32_t interrupt_of_entry(std::uint32_t entry) {
    return 1 + entry;
}
/// Vectors that the device of a VM has use for, where so many processes can be connected.
constexpr std::uint32_t vectors_for(std::uint32_t entries) {
    return 1 + entries;
}

/// What rings by streams: a process of the guest says on one which process it is. Before and after that every byte is a
/// ring: towards the server its Vector, towards the process any. Over vsock it connects to this port of the host; over
/// virtio-serial it opens any port of the guest whose name begins so and that no other process has. There what a
/// process says can be cut off, if the VM is reset, and the next process says its hello on the same stream.
inline constexpr std::uint32_t kVsockPort = 0x766d7270;  // "vmrp"
inline constexpr const char* kPortPrefix = "vmrpc.";
inline constexpr std::uint32_t kStreamMagic = 0x676e6952;  // "Ring" in memory
struct StreamHello {
    std::uint32_t magic;
    std::uint32_t entry;  // of the directory
    std::array<std::uint8_t, 16> segment_uuid;
};
static_assert(sizeof(StreamHello) == 24);
/// DirectoryClaim::ring_vector of such a process.
inline constexpr std::uint32_t kRungByStream = 0xffff'fffe;

/// BAR 0 of the device. Writing (peer << 16 | vector) to the doorbell rings.
inline constexpr std::uint64_t kRegistersBytes = 256;
inline constexpr std::uint64_t kDoorbellOffset = 12;
constexpr std::uint32_t doorbell_value(Vector vector) {
    return (static_cast<std::uint32_t>(kServerPeer) << 16) | vector;
}

/// Bits of DirectoryClaim::flags.
inline constexpr std::uint32_t kClaimTrustsServer = 1;
/// The claimant has nothing to ring the server with: the server looks at its Rung word.
inline constexpr std::uint32_t kClaimCannotRing = 2;

/// The part of the segment that belongs to a directory entry: equal shares, the first one less the header area.
constexpr layout::Extent share_of_entry(std::uint64_t segment_bytes, std::uint32_t entries, std::uint32_t entry) {
    const std::uint64_t share = segment_bytes / entries / layout::kAreaBytes * layout::kAreaBytes;
    if (entry == 0) return {layout::kAreaBytes, share - layout::kAreaBytes};
    return {entry * share, share};
}

inline layout::DirectoryEntry& directory_entry(std::byte* segment, std::uint32_t entry) {
    return reinterpret_cast<layout::DirectoryEntry*>(segment + layout::kDirectoryOffset)[entry];
}

}  // namespace vmrpc::transport::vm
