// Header and plan of a segment, as a client reads them: whatever it accepts fits into what it has mapped.
#include "layout/plan.hpp"

#include "fuzz/input.hpp"
#include "layout/lane.hpp"
#include "layout/wild.hpp"

#include <cstdlib>
#include <tuple>

namespace vmrpc::fuzz {
namespace {

constexpr std::uint64_t kSegmentBytes = std::uint64_t{4} << 20;
constexpr std::uint64_t kReadBytes = 2 * layout::kAreaBytes;  // header area and control page: no reader looks further

/// A block of just what readers may touch, so that the address sanitizer sees the first byte behind it.
std::byte* segment() {
    static auto* const block = static_cast<std::byte*>(std::aligned_alloc(layout::kAreaBytes, kReadBytes));
    return block;
}

void make_valid(std::uint32_t directory_entries) {
    std::memset(segment(), 0, kReadBytes);
    layout::format_segment(segment(), kSegmentBytes, directory_entries, {}, "fuzz");
    const auto plan = layout::plan_region(
        layout::kAreaBytes,
        {.lane_count = 2, .stack_bytes = 3 * layout::kAreaBytes, .arena_bytes = layout::kMinArenaBytes});
    layout::format_region(segment(), plan);
}

void require(bool holds) {
    if (!holds) std::abort();
}

void check(const layout::RegionPlan& plan) {
    require(plan.lane_count >= 1 && plan.lane_count <= layout::kMaxLanes);
    const layout::Extent region{plan.region_offset, plan.region_bytes};
    require(layout::holds({0, kSegmentBytes}, region.offset, region.bytes));
    require(layout::holds(region, plan.queues_offset, 2 * layout::kQueueStride));
    require(layout::holds(region, plan.lanes_offset, plan.lane_count * sizeof(layout::Lane)));
    require(plan.stack_bytes <= region.bytes && plan.arena_bytes <= region.bytes);
    require(layout::holds(region, plan.stacks_offset, plan.lane_count * plan.stack_bytes));
    require(layout::holds(region, plan.arenas_offset, 2 * plan.arena_bytes));
}

}  // namespace
}  // namespace vmrpc::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace vmrpc;
    fuzz::Input input(data, size);
    fuzz::make_valid(1 + input.below(layout::kMaxDirectoryEntries - 1));
    auto* const header = reinterpret_cast<layout::SegmentHeader*>(fuzz::segment());
    auto* const control = reinterpret_cast<layout::ControlPage*>(fuzz::segment() + layout::kAreaBytes);
    input.spoil(*header);
    input.spoil(control->plan);
    const std::uint64_t region = input.flag() ? input.take<std::uint64_t>() : layout::kAreaBytes;
    std::ignore = layout::read_segment(fuzz::segment(), fuzz::kSegmentBytes);
    std::ignore = layout::check_further_segment(fuzz::segment(), fuzz::kSegmentBytes, input.below(18));
    // Elsewhere than where it is a region cannot be read here: there is no memory behind it.
    const bool is_here =
        region == layout::kAreaBytes || region >= fuzz::kSegmentBytes || region % layout::kAreaBytes != 0;
    if (!is_here) return 0;
    if (const auto plan = layout::read_region(fuzz::segment(), fuzz::kSegmentBytes, region)) fuzz::check(*plan);
    return 0;
}
