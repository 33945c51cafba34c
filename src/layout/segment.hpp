// The first 64 KiB of every segment: header, table of further segments, directory. docs/LAYOUT.md is this file in
// words, and a test holds the two against each other.
#pragma once

#include "base/cpu.hpp"
#include "layout/shared_word.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace vmrpc::layout {

inline constexpr std::uint64_t kSegmentMagic = 0x31474553'43504d56;  // "VMPCSEG1" in memory
inline constexpr std::uint16_t kLayoutMajor = 2;
inline constexpr std::uint16_t kLayoutMinor = 0;
inline constexpr std::uint32_t kByteOrderMark = 0x01020304;

/// Areas start at multiples of this: page sizes differ between domains, none in use is larger.
inline constexpr std::uint64_t kAreaBytes = std::uint64_t{64} * 1024;

/// Capability bits. A side that does not know a required bit must refuse the segment; optional ones may be ignored.
inline constexpr std::uint64_t kRequiredCapabilities = 0;
inline constexpr std::uint64_t kOptionalCapabilities = 0;

/// Written by the segment's owner before any peer is told of the segment; constant afterwards.
struct alignas(base::kLineBytes) SegmentHeader {
    std::uint64_t magic;
    std::uint16_t layout_major;
    std::uint16_t layout_minor;
    std::uint32_t header_bytes;  // of this struct, so that it can grow
    std::uint64_t required_capabilities;
    std::uint64_t optional_capabilities;
    std::uint64_t segment_bytes;
    std::uint32_t byte_order;
    std::uint16_t line_bytes;
    std::uint8_t pointer_bits;
    std::uint8_t address_bits;  // of the owner: 48, 39, ...
    std::uint32_t owner_page_bytes;
    std::uint32_t directory_entries;
    std::uint64_t directory_offset;

    std::array<std::uint8_t, 16> uuid;
    std::array<char, 48> made_by;  // program and version, NUL-terminated

    std::uint64_t further_offset;  // table of FurtherSegment
    std::uint32_t further_entries;
    std::uint32_t segment_index;  // of this segment among those of the same peers; 0 is the one with the directory
    std::array<std::uint8_t, 48> reserved;
};
static_assert(sizeof(SegmentHeader) == 192);

/// One more segment of the same peers: a heap with one arena. Entry i describes segment i + 1. Written by the owner,
/// for whoever looks at the memory alone; the peers tell each other in words of their transport.
struct alignas(base::kLineBytes) FurtherSegment {
    SharedWord<std::uint32_t> state;  // 0 free, 1 in use; release-stored after the rest
    std::uint32_t side;               // Side: whose arena it is
    std::uint64_t segment_bytes;
    std::uint64_t agreed_address;
    std::array<std::uint8_t, 16> uuid;
    std::uint64_t arena_bytes;
    std::uint32_t heap;  // its number
    std::array<std::uint8_t, 12> reserved;
};
static_assert(sizeof(FurtherSegment) == base::kLineBytes);

/// What a directory entry's owner, the server's side, says.
enum class OfferState : std::uint32_t {
    kFree = 0,      // a client may claim the entry
    kOffered = 1,   // the region is formatted, the client may use it
    kRefused = 2,   // `status` says why; the claimant lets go
    kDraining = 3,  // the server is still using the region of a client that is gone
};

/// What the claimant, a client process, says.
enum class ClaimState : std::uint32_t {
    kNone = 0,
    kClaimed = 1,  // wants a connection; the wishes are valid
    kMapped = 2,   // has mapped the region and calls
    kGone = 3,     // will not touch the region again
};

/// Server's line of a directory entry. `state` is release-stored last and pairs with the claimant's acquire load.
struct alignas(base::kLineBytes) DirectoryOffer {
    SharedWord<std::uint32_t> state;       // OfferState
    SharedWord<std::uint32_t> generation;  // counts the connections that this entry has carried
    SharedWord<std::uint64_t> region_offset;
    SharedWord<std::uint64_t> region_bytes;
    SharedWord<std::uint64_t>
        agreed_address;  // of the segment's base in the server; the plan says whether it is the same in both
    SharedWord<std::uint32_t> ring_vector;  // rings the server for this connection; kLooks: nothing does
    SharedWord<std::uint32_t> status;       // vmrpc_status of a refusal
    std::array<std::uint8_t, 24> reserved;
};
static_assert(sizeof(DirectoryOffer) == base::kLineBytes);

/// Client's line of a directory entry. `state` is release-stored last and pairs with the server's acquire load.
struct alignas(base::kLineBytes) DirectoryClaim {
    SharedWord<std::uint32_t> state;       // ClaimState
    SharedWord<std::uint32_t> generation;  // of the offer that is claimed
    SharedWord<std::uint32_t> pid;         // in the client's own domain; for messages only
    SharedWord<std::uint32_t> page_bytes;
    SharedWord<std::uint32_t> ring_vector;  // rings this client; kLooks: nothing does
    SharedWord<std::uint32_t> flags;        // bit 0: trusts the server's side
    SharedWord<std::uint64_t> address;      // where the segment is mapped in the client; 0: not yet
    SharedWord<std::uint64_t> heap_bytes;   // wished for, both halves together; 0: as the server likes
    SharedWord<std::uint32_t> lane_count;   // likewise
    std::array<std::uint8_t, 4> reserved0;
    SharedWord<std::uint64_t> service;  // which service of several behind one segment; 0: the only one
    std::array<std::uint8_t, 8> reserved;
};
static_assert(sizeof(DirectoryClaim) == base::kLineBytes);

struct DirectoryEntry {
    DirectoryOffer offer;
    DirectoryClaim claim;
};

/// A ring vector of a side that nothing rings: it looks at its Rung word from time to time.
inline constexpr std::uint32_t kLooks = 0xffff'ffff;

/// The memory of a device that is only there to ring: names the segment whose peers it rings. Written by its maker
/// before any peer is told of it, constant afterwards.
struct alignas(base::kLineBytes) DoorbellCard {
    std::uint64_t magic;
    std::uint16_t layout_major;
    std::uint16_t layout_minor;
    std::array<std::uint8_t, 4> reserved0;
    std::array<std::uint8_t, 16> segment_uuid;
    std::array<std::uint8_t, 32> reserved;
};
static_assert(sizeof(DoorbellCard) == base::kLineBytes);
inline constexpr std::uint64_t kDoorbellMagic = 0x314c4542'43504d56;  // "VMPCBEL1" in memory

inline constexpr std::uint64_t kFurtherOffset = 256;
inline constexpr std::uint32_t kFurtherEntries = 15;
inline constexpr std::uint64_t kDirectoryOffset = std::uint64_t{2} * 1024;  // an only entry lies in the header's page
inline constexpr std::uint32_t kMaxDirectoryEntries = 256;
/// In a further segment, by Side: two RemoteFreeQueue at kQueueStride, of which only its arena's owner's is used; then
/// the arena.
inline constexpr std::uint64_t kFurtherQueuesOffset = kAreaBytes;
inline constexpr std::uint64_t kFurtherArenaOffset = 3 * kAreaBytes;
static_assert(kFurtherOffset + kFurtherEntries * sizeof(FurtherSegment) <= kDirectoryOffset);
static_assert(kDirectoryOffset + kMaxDirectoryEntries * sizeof(DirectoryEntry) <= kAreaBytes);

}  // namespace vmrpc::layout
