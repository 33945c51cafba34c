// The hand-shake of local:, four messages on a SOCK_SEQPACKET socket, each one packet.
//
//     client                                  server
//     Hello    what it wishes, which slots
//              of its address space are free
//                                             Offer   the segment, and where the server has mapped it;
//                                                     or why not. With it: the memory, the server's eventfd
//     Mapped   where it has mapped the segment
//                                             Ready   the region is formatted: calls may begin
//
// Afterwards the socket's end of file tells of the peer's end, and further segments are added and taken away. The
// server's side makes the memory of both sides' segments:
//
//     client                                  server
//                                             HeapAsk    only if the arena is to be the server's: send a HeapWish
//     HeapWish   which slots are free; how
//                large, if it is its own
//                                             HeapOffer  the segment, and where the server has mapped it; or why not.
//                                                        With it: the memory
//     HeapMapped where it has mapped it, or
//                that it could not
//                                             HeapReady  only of a client's: it may be used; or why not
//
//     HeapEnd    its own is used no more      HeapEnd    its own is used no more
//     HeapEnded  the server's is unmapped
//
// A side has one of its own on the way at a time. Descriptors travel to the client only: a server that took descriptors
// from a client could be made to hang on them (a file of a FUSE system).
#pragma once

#include "layout/plan.hpp"
#include "transport/address_space.hpp"

#include <array>
#include <cstdint>

namespace vmrpc::transport::local {

inline constexpr std::uint64_t kProtocolMagic = 0x314c41434f4c5056;  // "VPLOCAL1" in memory

enum class MessageKind : std::uint32_t {
    kHello = 1,
    kOffer = 2,
    kMapped = 3,
    kReady = 4,
    kHeapAsk = 5,
    kHeapWish = 6,
    kHeapOffer = 7,
    kHeapMapped = 8,
    kHeapReady = 9,
    kHeapEnd = 10,
    kHeapEnded = 11,
};

/// How every message of every version begins. Who reads another layout_major than its own reads no further, except in
/// an Offer its status and text.
struct MessageHead {
    std::uint64_t magic = kProtocolMagic;
    std::uint16_t layout_major = layout::kLayoutMajor;
    std::uint16_t layout_minor = layout::kLayoutMinor;
    MessageKind kind{};
};
static_assert(sizeof(MessageHead) == 16);

/// Bits of Hello::flags and Offer::flags: what the side has been asked for.
inline constexpr std::uint32_t kTrustsPeer = 1;
inline constexpr std::uint32_t kWishesEqualAddresses = 2;
inline constexpr std::uint32_t kWishesHugetlb = 4;      // of a Hello
inline constexpr std::uint32_t kWishesTransparent = 8;  // of a Hello

struct Hello {
    MessageHead head{.kind = MessageKind::kHello};
    std::uint64_t heap_bytes = 0;  // 0: the default
    std::uint32_t lane_count = 0;
    std::uint32_t flags = 0;
    std::uint32_t page_bytes = 0;
    std::int32_t only_cpu = -1;
    // How the client cuts its address space; slots are compared only if the server cuts its own alike.
    std::uint64_t first_slot = kFirstSlot;
    std::uint64_t slot_bytes = kSlotBytes;
    std::uint32_t slot_count = kSlotCount;
    std::uint32_t reserved = 0;
    SlotMap::Words free_slots{};
};
static_assert(sizeof(Hello) == 64 + 136 * 8);

struct Offer {
    MessageHead head{.kind = MessageKind::kOffer};
    std::uint32_t status = 0;  // vmrpc_status; if not VMRPC_OK, text says why, and the rest is zero
    std::uint32_t flags = 0;
    std::array<char, 488> text{};  // NUL-terminated
    // Up to here the same in every version.
    std::uint64_t segment_bytes = 0;
    std::uint64_t region_offset = 0;
    std::uint64_t server_address = 0;  // of the segment's base
    layout::Uuid uuid{};
    std::uint32_t connection = 0;
    std::uint32_t reserved = 0;
};
static_assert(sizeof(Offer) == 512 + 48);

/// Descriptors that an accepting Offer carries, in this order.
enum OfferDescriptor : std::uint32_t { kSegmentMemory = 0, kServerBell = 1, kOfferDescriptors = 2 };

struct Mapped {
    MessageHead head{.kind = MessageKind::kMapped};
    std::uint64_t client_address = 0;  // of the segment's base
};
static_assert(sizeof(Mapped) == 24);

struct Ready {
    MessageHead head{.kind = MessageKind::kReady};
};
static_assert(sizeof(Ready) == 16);

struct HeapAsk {
    MessageHead head{.kind = MessageKind::kHeapAsk};
    std::uint32_t token = 0;  // of the attempt: comes back in the wish
    std::uint32_t reserved = 0;
};
static_assert(sizeof(HeapAsk) == 24);

struct HeapWish {
    MessageHead head{.kind = MessageKind::kHeapWish};
    std::uint32_t token = 0;        // the asker's; else the client's own: comes back in the offer
    std::uint32_t side = 0;         // layout::Side of the arena
    std::uint64_t arena_bytes = 0;  // of a client's; whole spans
    std::uint32_t flags = 0;        // kWishesEqualAddresses
    std::uint32_t slot_count = kSlotCount;
    std::uint64_t first_slot = kFirstSlot;
    std::uint64_t slot_bytes = kSlotBytes;
    SlotMap::Words free_slots{};
};
static_assert(sizeof(HeapWish) == 56 + 136 * 8);

struct HeapOffer {
    MessageHead head{.kind = MessageKind::kHeapOffer};
    std::uint32_t status = 0;  // vmrpc_status; if not VMRPC_OK, text says why, and what follows `token` is zero
    std::uint32_t token = 0;
    std::uint32_t side = 0;
    std::uint32_t heap = 0;   // number
    std::uint32_t flags = 0;  // kWishesEqualAddresses: both sides do
    std::uint32_t reserved = 0;
    std::uint64_t segment_bytes = 0;
    std::uint64_t arena_bytes = 0;
    std::uint64_t server_address = 0;
    layout::Uuid uuid{};
    std::array<char, 256> text{};  // NUL-terminated
};
static_assert(sizeof(HeapOffer) == 80 + 256);

struct HeapMapped {
    MessageHead head{.kind = MessageKind::kHeapMapped};
    std::uint32_t heap = 0;
    std::uint32_t status = 0;  // vmrpc_status; if not VMRPC_OK it could not be mapped
    std::uint64_t client_address = 0;
};
static_assert(sizeof(HeapMapped) == 32);

/// HeapReady, HeapEnd, HeapEnded.
struct HeapWord {
    MessageHead head{};
    std::uint32_t heap = 0;
    std::uint32_t status = 0;  // of a HeapReady: vmrpc_status
};
static_assert(sizeof(HeapWord) == 24);

/// As long as any that a client sends after the hand-shake, and any that a server does.
using FromClient = std::array<std::byte, sizeof(HeapWish)>;
using FromServer = std::array<std::byte, sizeof(HeapOffer)>;

}  // namespace vmrpc::transport::local
