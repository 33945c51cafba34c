// A region: the layout of one connection inside a segment. See docs/LAYOUT.md.
#pragma once

#include "base/cpu.hpp"
#include "layout/lane.hpp"
#include "layout/segment.hpp"
#include "layout/shared_word.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace vmrpc::layout {

inline constexpr std::uint64_t kRegionMagic = 0x314e4f49'47455256;  // "VREGION1" in memory

/// Sides of a connection, and indices of what exists once for each.
enum class Side : std::uint32_t { kClient = 0, kServer = 1 };
inline constexpr std::size_t index_of(Side side) {
    return static_cast<std::size_t>(side);
}
inline constexpr Side other(Side side) {
    return side == Side::kClient ? Side::kServer : Side::kClient;
}

/// Sizes and places, in bytes from the segment's base. Written by the server before the client sees the region.
struct RegionPlan {
    std::uint64_t magic;
    std::uint32_t epoch;  // grows with each connection that this region has carried
    std::uint32_t lane_count;
    std::uint64_t region_offset;
    std::uint64_t region_bytes;
    std::uint64_t agreed_address;  // of the segment's base, the same on both sides; 0: addresses differ
    std::uint64_t queues_offset;   // two RemoteFreeQueue, at kQueueStride
    std::uint64_t lanes_offset;    // lane_count Lane, one after the other
    std::uint64_t stacks_offset;   // lane_count RPC stacks, one after the other

    std::uint64_t stack_bytes;    // of each RPC stack
    std::uint64_t arenas_offset;  // the client's arena, then the server's
    std::uint64_t arena_bytes;    // of each
    std::uint32_t flags;          // kRegion…: what holds for it
    std::uint32_t connection;     // number, for messages
    std::array<std::uint8_t, 32> reserved;

    /// First byte of a side's arena.
    [[nodiscard]] std::uint64_t arena_offset(Side side) const { return arenas_offset + index_of(side) * arena_bytes; }
    /// First byte of a lane's RPC stack.
    [[nodiscard]] std::uint64_t stack_offset(std::uint32_t lane) const { return stacks_offset + lane * stack_bytes; }
};
static_assert(sizeof(RegionPlan) == 2 * base::kLineBytes);

/// Both sides opted in to trust each other.
inline constexpr std::uint32_t kRegionTrusted = 1;
/// They do, and the server runs functions on the client's RPC stack if a request asks for it.
inline constexpr std::uint32_t kRegionBorrows = 2;
/// The segment's memory is of the system's pool of huge pages: nothing of it is committed later, or given back.
inline constexpr std::uint32_t kRegionHugetlb = 4;
/// The system is advised to use huge pages for the heap, by each side in its own mapping.
inline constexpr std::uint32_t kRegionTransparent = 8;

enum class RegionState : std::uint32_t {
    kOpen = 1,
    kClosed = 2,    // in order
    kPoisoned = 3,  // the other side broke the protocol; status and text say how
};

/// Written by the server.
struct alignas(base::kLineBytes) ServerState {
    SharedWord<std::uint32_t> state;       // RegionState; release-stored after status and text
    SharedWord<std::uint32_t> status;      // vmrpc_status, if not open
    SharedWord<std::int32_t> poller_cpu;   // the only CPU of the polling thread, -1 if it may use several
    SharedWord<std::uint32_t> calls_back;  // not 0 once a callback ring is in use: before that clients look at none
    std::array<std::uint8_t, 48> reserved;
};
static_assert(sizeof(ServerState) == base::kLineBytes);

/// Written by the client.
struct alignas(base::kLineBytes) ClientState {
    SharedWord<std::uint32_t> state;         // RegionState
    SharedWord<std::uint32_t> lanes_in_use;  // lanes 0 .. n-1 may carry requests; only grows
    SharedWord<std::int32_t> only_cpu;       // of the client's process at connect, -1 if several
    std::array<std::uint8_t, 52> reserved;
};
static_assert(sizeof(ClientState) == base::kLineBytes);

/// A side's line with nothing on it but its ring-me generation: it grows each time that side is about to sleep. The
/// peer, having published something, reads it after a full fence, and rings if it is new.
struct alignas(base::kLineBytes) RingMe {
    SharedWord<std::uint32_t> generation;
    std::array<std::uint8_t, 60> reserved;
};
static_assert(sizeof(RingMe) == base::kLineBytes);

/// A side's word that changes when it is rung, written by its peer; under `local:` a futex. Under `local:` the client
/// itself also stores to its own word, values with the top bit set, to end its own wait: see transport/rung_word.hpp.
struct alignas(base::kLineBytes) Rung {
    SharedWord<std::uint32_t> count;
    std::array<std::uint8_t, 60> reserved;
};
static_assert(sizeof(Rung) == base::kLineBytes);

struct ControlPage {
    alignas(base::kLineBytes) RegionPlan plan;
    ServerState server;
    ClientState client;
    std::array<RingMe, 2> ring_me;  // by Side: [side] is written by that side
    std::array<Rung, 2> rung;       // by Side: [side] is written by the other side
    alignas(base::kLineBytes) std::array<char, kErrorTextBytes> server_text;  // server writes
};
static_assert(sizeof(ControlPage) <= 4096);

/// Blocks of one arena that the other side has freed. `tail` is the freer's, `head` the owner's; both only grow.
struct RemoteFreeQueue {
    static constexpr std::uint32_t kEntries = 4096;
    alignas(base::kLineBytes) SharedWord<std::uint64_t> tail;  // release after the entries; owner loads with acquire
    alignas(base::kLineBytes) SharedWord<std::uint64_t> head;  // release after reading them; freer loads with acquire
    alignas(base::kLineBytes) std::array<SharedWord<std::uint64_t>, kEntries> offsets;  // of the blocks
};
inline constexpr std::uint64_t kQueueStride = kAreaBytes;
static_assert(sizeof(RemoteFreeQueue) <= kQueueStride);
static_assert(kFurtherArenaOffset == kFurtherQueuesOffset + 2 * kQueueStride);

}  // namespace vmrpc::layout
