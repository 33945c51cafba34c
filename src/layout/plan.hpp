// Where everything in a segment lies: planned and written by the server's side, read and checked by the client's.
#pragma once

#include "base/result.hpp"
#include "layout/region.hpp"
#include "layout/segment.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace vmrpc::layout {

using Uuid = std::array<std::uint8_t, 16>;

/// A random (version 4) UUID.
Uuid make_uuid();

/// What a region is made of.
struct RegionSizes {
    std::uint32_t lane_count = 64;
    std::uint64_t stack_bytes = std::uint64_t{1024} * 1024;  // of each lane's RPC stack; a multiple of kAreaBytes
    std::uint64_t arena_bytes = 0;  // of each side's half of the heap; a multiple of kAreaBytes
};

/// The largest number of lanes that keeps what an idle connection touches within one 2 MiB block.
inline constexpr std::uint32_t kMaxLanes = 64;
inline constexpr std::uint64_t kMinArenaBytes = std::uint64_t{1024} * 1024;

/// Lays a region of these sizes out at `region_offset` (a multiple of kAreaBytes). Requires 1 to kMaxLanes lanes.
RegionPlan plan_region(std::uint64_t region_offset, const RegionSizes& sizes);

/// Lays a region out that fills `region_bytes`, arenas taking what the rest leaves.
/// Errors: VMRPC_BAD_ARGUMENT if the arenas would be smaller than kMinArenaBytes each.
base::Result<RegionPlan> plan_region_within(std::uint64_t region_offset, std::uint64_t region_bytes, RegionSizes sizes);

/// Bytes of a segment that holds one region with these sizes behind its header area, rounded up to 2 MiB.
std::uint64_t segment_bytes_for(const RegionSizes& sizes);

/// Writes header and an empty directory into a zeroed segment that nobody else has mapped yet.
void format_segment(std::byte* segment, std::uint64_t segment_bytes, std::uint32_t directory_entries, const Uuid& uuid,
                    std::string_view made_by);

/// Bytes of a further segment with an arena of so many: whole spans, rounded up to 2 MiB with what comes before it.
/// Requires at most kWireOffsetMask / 2.
std::uint64_t further_segment_bytes(std::uint64_t arena_bytes);

/// Writes the header of further segment `index` (from 1) into zeroed memory that nobody else has mapped yet.
void format_further_segment(std::byte* segment, std::uint64_t segment_bytes, std::uint32_t index, const Uuid& uuid,
                            std::string_view made_by);

/// Says in segment 0 that there is such a further segment, or that it is free again.
void note_further_segment(std::byte* segment_0, std::uint32_t index, const FurtherSegment& what);
void forget_further_segment(std::byte* segment_0, std::uint32_t index);

/// Writes the control page of a region: the plan, both sides open, nothing rung. Lanes, queues are zeroed.
/// Requires that no client is using the region.
void format_region(std::byte* segment, const RegionPlan& plan);

/// A checked private copy of a segment's header.
/// Errors: VMRPC_NOT_VMRPC (no magic), VMRPC_LAYOUT_VERSION (another major version, byte order, pointer width, line
/// size or an unknown required capability: the text names both values), VMRPC_POISONED (sizes that cannot be).
base::Result<SegmentHeader> read_segment(const std::byte* segment, std::uint64_t mapped_bytes);
/// The same of further segment `index`.
base::Status check_further_segment(const std::byte* segment, std::uint64_t mapped_bytes, std::uint32_t index);

/// A checked private copy of the region's plan: every area lies in the region, the region in the segment.
/// Errors: VMRPC_POISONED, with the value that cannot be.
base::Result<RegionPlan> read_region(const std::byte* segment, std::uint64_t mapped_bytes, std::uint64_t region_offset);

}  // namespace vmrpc::layout
