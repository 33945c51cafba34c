#include "layout/plan.hpp"

#include "layout/wild.hpp"

#include <fmt/format.h>

#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>

namespace vmrpc::layout {
namespace {

constexpr std::uint64_t kHugePageBytes = std::uint64_t{2} * 1024 * 1024;

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) {
    return (value + unit - 1) / unit * unit;
}

#if defined(__aarch64__)
constexpr std::uint8_t kAddressBits = 39;
#else
constexpr std::uint8_t kAddressBits = 48;
#endif

base::Status check_version(const SegmentHeader& header) {
    if (header.magic != kSegmentMagic)
        return base::fail(VMRPC_NOT_VMRPC, fmt::format("segment starts with {:#x}, not with vmrpc's magic {:#x}: the "
                                                       "memory belongs to another program",
                                                       header.magic, kSegmentMagic));
    if (header.layout_major != kLayoutMajor)
        return base::fail(VMRPC_LAYOUT_VERSION,
                          fmt::format("the peer's layout is {}.{}, this library's is {}.{}: use the same major version "
                                      "of vmrpc on both sides",
                                      header.layout_major, header.layout_minor, kLayoutMajor, kLayoutMinor));
    if (header.byte_order != kByteOrderMark || header.pointer_bits != 64 || header.line_bytes != base::kLineBytes)
        return base::fail(
            VMRPC_LAYOUT_VERSION,
            fmt::format("the peer's byte order mark {:#x}, pointer width {} or line size {} is not ours "
                        "({:#x}, 64, {})",
                        header.byte_order, header.pointer_bits, header.line_bytes, kByteOrderMark, base::kLineBytes));
    if (const std::uint64_t unknown = header.required_capabilities & ~kRequiredCapabilities; unknown != 0)
        return base::fail(VMRPC_LAYOUT_VERSION,
                          fmt::format("the peer requires capabilities {:#x} that this library does not know: use a "
                                      "newer vmrpc",
                                      unknown));
    return {};
}

base::Status check_area(const RegionPlan& plan, const char* name, std::uint64_t offset, std::uint64_t count,
                        std::uint64_t each_bytes) {
    std::uint64_t bytes = 0;
    const Extent region{plan.region_offset, plan.region_bytes};
    if (offset % kAreaBytes == 0 && !__builtin_mul_overflow(count, each_bytes, &bytes) && holds(region, offset, bytes))
        return {};
    return base::fail(VMRPC_POISONED,
                      fmt::format("the region's {} ({} of {} bytes at offset {}) do not fit into its {} "
                                  "bytes at offset {}",
                                  name, count, each_bytes, offset, plan.region_bytes, plan.region_offset));
}

}  // namespace

Uuid make_uuid() {
    Uuid uuid{};
    // Cannot fail for so few bytes once the system has booted; a zero UUID would only cost the sharing of a mapping.
    [[maybe_unused]] const auto got = ::getrandom(uuid.data(), uuid.size(), 0);
    uuid[6] = static_cast<std::uint8_t>((uuid[6] & 0x0f) | 0x40);
    uuid[8] = static_cast<std::uint8_t>((uuid[8] & 0x3f) | 0x80);
    return uuid;
}

RegionPlan plan_region(std::uint64_t region_offset, const RegionSizes& sizes) {
    RegionPlan plan{};
    plan.magic = kRegionMagic;
    plan.lane_count = sizes.lane_count;
    plan.region_offset = region_offset;
    plan.queues_offset = region_offset + kAreaBytes;
    plan.lanes_offset = plan.queues_offset + 2 * kQueueStride;
    plan.stacks_offset = plan.lanes_offset + round_up(sizes.lane_count * sizeof(Lane), kAreaBytes);
    plan.stack_bytes = sizes.stack_bytes;
    plan.arenas_offset = plan.stacks_offset + sizes.lane_count * sizes.stack_bytes;
    plan.arena_bytes = sizes.arena_bytes;
    plan.region_bytes = plan.arenas_offset + 2 * plan.arena_bytes - region_offset;
    return plan;
}

base::Result<RegionPlan> plan_region_within(std::uint64_t region_offset, std::uint64_t region_bytes,
                                            RegionSizes sizes) {
    sizes.arena_bytes = 0;
    const std::uint64_t control_bytes = plan_region(region_offset, sizes).region_bytes;
    if (region_bytes < control_bytes + 2 * kMinArenaBytes)
        return base::fail(VMRPC_BAD_ARGUMENT,
                          fmt::format("{} bytes are too few for a region: its control areas take {}, the two halves of "
                                      "the heap at least {} each",
                                      region_bytes, control_bytes, kMinArenaBytes));
    sizes.arena_bytes = (region_bytes - control_bytes) / 2 / kAreaBytes * kAreaBytes;
    return plan_region(region_offset, sizes);
}

std::uint64_t segment_bytes_for(const RegionSizes& sizes) {
    const RegionPlan plan = plan_region(kAreaBytes, sizes);
    return round_up(plan.region_offset + plan.region_bytes, kHugePageBytes);
}

namespace {

/// A header without its magic, which comes last.
SegmentHeader& write_header(std::byte* segment, std::uint64_t segment_bytes, const Uuid& uuid,
                            std::string_view made_by) {
    auto* header = new (segment) SegmentHeader{};
    header->layout_major = kLayoutMajor;
    header->layout_minor = kLayoutMinor;
    header->header_bytes = sizeof(SegmentHeader);
    header->required_capabilities = kRequiredCapabilities;
    header->optional_capabilities = kOptionalCapabilities;
    header->segment_bytes = segment_bytes;
    header->byte_order = kByteOrderMark;
    header->line_bytes = base::kLineBytes;
    header->pointer_bits = 64;
    header->address_bits = kAddressBits;
    header->owner_page_bytes = static_cast<std::uint32_t>(::sysconf(_SC_PAGESIZE));
    header->uuid = uuid;
    made_by.copy(header->made_by.data(), header->made_by.size() - 1);
    return *header;
}

void set_magic(SegmentHeader& header) {
    // release: pairs with the acquire fence of who has read the magic, who then finds what was written before it
    std::atomic_thread_fence(std::memory_order_release);
    header.magic = kSegmentMagic;
}

}  // namespace

void format_segment(std::byte* segment, std::uint64_t segment_bytes, std::uint32_t directory_entries, const Uuid& uuid,
                    std::string_view made_by) {
    SegmentHeader& header = write_header(segment, segment_bytes, uuid, made_by);
    header.directory_entries = directory_entries;
    header.directory_offset = kDirectoryOffset;
    header.further_offset = kFurtherOffset;
    header.further_entries = kFurtherEntries;
    set_magic(header);
}

std::uint64_t further_segment_bytes(std::uint64_t arena_bytes) {
    return round_up(kFurtherArenaOffset + arena_bytes, kHugePageBytes);
}

void format_further_segment(std::byte* segment, std::uint64_t segment_bytes, std::uint32_t index, const Uuid& uuid,
                            std::string_view made_by) {
    SegmentHeader& header = write_header(segment, segment_bytes, uuid, made_by);
    header.segment_index = index;
    set_magic(header);
}

void note_further_segment(std::byte* segment_0, std::uint32_t index, const FurtherSegment& what) {
    FurtherSegment& entry = reinterpret_cast<FurtherSegment*>(segment_0 + kFurtherOffset)[index - 1];
    entry.side = what.side;
    entry.segment_bytes = what.segment_bytes;
    entry.agreed_address = what.agreed_address;
    entry.uuid = what.uuid;
    entry.arena_bytes = what.arena_bytes;
    entry.heap = what.heap;
    // release: pairs with an acquire load of whoever looks
    entry.state.store_release(1);
}

void forget_further_segment(std::byte* segment_0, std::uint32_t index) {
    reinterpret_cast<FurtherSegment*>(segment_0 + kFurtherOffset)[index - 1].state.store_release(0);
}

void format_region(std::byte* segment, const RegionPlan& plan) {
    // Fresh memory is zero already; writing zeros would only commit its pages.
    auto* control = reinterpret_cast<ControlPage*>(segment + plan.region_offset);
    control->plan = plan;
    control->server.poller_cpu.store_relaxed(-1);
    control->client.only_cpu.store_relaxed(-1);
    control->client.state.store_relaxed(static_cast<std::uint32_t>(RegionState::kOpen));
    // Pairs with the client's acquire load when it attaches.
    control->server.state.store_release(static_cast<std::uint32_t>(RegionState::kOpen));
}

base::Result<SegmentHeader> read_segment(const std::byte* segment, std::uint64_t mapped_bytes) {
    SegmentHeader header{};
    if (mapped_bytes < kAreaBytes)
        return base::fail(VMRPC_NOT_VMRPC, fmt::format("{} bytes of shared memory are too few for a segment's header "
                                                       "({}): not vmrpc's, or the device is too small",
                                                       mapped_bytes, kAreaBytes));
    copy_from_peer(&header, segment, sizeof header);
    std::atomic_thread_fence(std::memory_order_acquire);  // pairs with the release fence in set_magic()
    VMRPC_TRY(check_version(header));
    const bool sizes_fit = header.header_bytes >= sizeof header && header.segment_bytes >= kAreaBytes &&
                           header.segment_bytes <= mapped_bytes;
    const bool directory_fits = header.directory_offset == kDirectoryOffset && header.directory_entries >= 1 &&
                                header.directory_entries <= kMaxDirectoryEntries;
    const bool further_fit = header.further_offset == kFurtherOffset && header.further_entries <= kFurtherEntries;
    if (!sizes_fit || !directory_fits || !further_fit)
        return base::fail(VMRPC_POISONED,
                          fmt::format("segment header of {} bytes: {} bytes (mapped {}), {} directory entries at {}, "
                                      "{} further segments at {}: cannot be",
                                      header.header_bytes, header.segment_bytes, mapped_bytes, header.directory_entries,
                                      header.directory_offset, header.further_entries, header.further_offset));
    return header;
}

base::Status check_further_segment(const std::byte* segment, std::uint64_t mapped_bytes, std::uint32_t index) {
    SegmentHeader header{};
    copy_from_peer(&header, segment, sizeof header);
    std::atomic_thread_fence(std::memory_order_acquire);  // pairs with the release fence in set_magic()
    VMRPC_TRY(check_version(header));
    if (header.segment_bytes == mapped_bytes && header.segment_index == index) return {};
    return base::fail(VMRPC_POISONED,
                      fmt::format("further segment {} of {} bytes says of itself that it is segment {} of {} bytes",
                                  index, mapped_bytes, header.segment_index, header.segment_bytes));
}

base::Result<RegionPlan> read_region(const std::byte* segment, std::uint64_t mapped_bytes,
                                     std::uint64_t region_offset) {
    const Extent mapped{0, mapped_bytes};
    if (region_offset % kAreaBytes != 0 || !holds(mapped, region_offset, sizeof(ControlPage)))
        return base::fail(VMRPC_POISONED, fmt::format("region offset {} lies outside the segment's {} bytes",
                                                      region_offset, mapped_bytes));
    RegionPlan plan{};
    copy_from_peer(&plan, segment + region_offset, sizeof plan);
    if (plan.magic != kRegionMagic || plan.region_offset != region_offset ||
        !holds(mapped, region_offset, plan.region_bytes) || plan.lane_count < 1 || plan.lane_count > kMaxLanes)
        return base::fail(
            VMRPC_POISONED,
            fmt::format("region at {}: magic {:#x}, offset {}, {} bytes, {} lanes: cannot be", region_offset,
                        plan.magic, plan.region_offset, plan.region_bytes, plan.lane_count));
    if (plan.stack_bytes % kAreaBytes != 0 || plan.arena_bytes % kAreaBytes != 0)
        return base::fail(VMRPC_POISONED,
                          fmt::format("region at {}: RPC stacks of {} bytes, arenas of {}: not multiples of {}",
                                      region_offset, plan.stack_bytes, plan.arena_bytes, kAreaBytes));
    VMRPC_TRY(check_area(plan, "remote-free queues", plan.queues_offset, 2, kQueueStride));
    VMRPC_TRY(check_area(plan, "lanes", plan.lanes_offset, plan.lane_count, sizeof(Lane)));
    VMRPC_TRY(check_area(plan, "RPC stacks", plan.stacks_offset, plan.lane_count, plan.stack_bytes));
    VMRPC_TRY(check_area(plan, "heap arenas", plan.arenas_offset, 2, plan.arena_bytes));
    return plan;
}

}  // namespace vmrpc::layout
