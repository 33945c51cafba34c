// Planning a region, and reading what a peer planned: each way in which it can be wrong has a test.
#include "layout/plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>

namespace vmrpc::layout {
namespace {

using testing::HasSubstr;

constexpr RegionSizes kSizes{.lane_count = 3, .stack_bytes = kAreaBytes, .arena_bytes = kMinArenaBytes};

/// A formatted segment, and ways to spoil it.
class LayoutTest : public testing::Test {
  protected:
    LayoutTest()
        : memory_(static_cast<std::byte*>(std::aligned_alloc(kAreaBytes, bytes_))),
          plan_(plan_region(kAreaBytes, kSizes)) {
        if (memory_ == nullptr) throw std::bad_alloc();
        std::memset(memory_.get(), 0, bytes_);
        format_segment(segment(), bytes_, 1, make_uuid(), "layout_test");
        format_region(segment(), plan_);
    }

    [[nodiscard]] std::byte* segment() const { return memory_.get(); }
    [[nodiscard]] SegmentHeader& header() const { return *reinterpret_cast<SegmentHeader*>(segment()); }
    [[nodiscard]] RegionPlan& shared_plan() const {
        return reinterpret_cast<ControlPage*>(segment() + kAreaBytes)->plan;
    }
    void expect_segment_refused(vmrpc_status status, const std::string& text) const {
        const auto read = read_segment(segment(), bytes_);
        ASSERT_FALSE(read);
        EXPECT_EQ(read.error().status, status);
        EXPECT_THAT(read.error().text, HasSubstr(text));
    }
    void expect_region_refused(const std::string& text) const {
        const auto read = read_region(segment(), bytes_, kAreaBytes);
        ASSERT_FALSE(read);
        EXPECT_EQ(read.error().status, VMRPC_POISONED);
        EXPECT_THAT(read.error().text, HasSubstr(text));
    }

    const std::uint64_t bytes_ = segment_bytes_for(kSizes);

  private:
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    std::unique_ptr<std::byte, Free> memory_;

  protected:
    RegionPlan plan_;
};

using SegmentTest = LayoutTest;
using RegionTest = LayoutTest;

TEST_F(SegmentTest, ReadsWhatWasFormatted) {
    const auto read = read_segment(segment(), bytes_);
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(read->segment_bytes, bytes_);
    EXPECT_STREQ(read->made_by.data(), "layout_test");
}

TEST_F(SegmentTest, AcceptsAnotherMinorVersion) {
    header().layout_minor = kLayoutMinor + 1;
    header().header_bytes = sizeof(SegmentHeader) + 64;
    EXPECT_TRUE(read_segment(segment(), bytes_));
}

TEST_F(SegmentTest, AcceptsUnknownOptionalCapabilities) {
    header().optional_capabilities = ~std::uint64_t{0};
    EXPECT_TRUE(read_segment(segment(), bytes_));
}

TEST_F(SegmentTest, TerminatesTheNameOfItsMaker) {
    format_segment(segment(), bytes_, 1, {}, std::string(1000, 'x'));
    EXPECT_EQ(header().made_by.back(), '\0');
}

TEST_F(SegmentTest, RefusesMemoryWithoutMagic) {
    header().magic = 0x464c457f;
    expect_segment_refused(VMRPC_NOT_VMRPC, "0x464c457f");
}

TEST_F(SegmentTest, RefusesMemoryTooSmallForAHeader) {
    const auto read = read_segment(segment(), kAreaBytes - 1);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().status, VMRPC_NOT_VMRPC);
}

TEST_F(SegmentTest, RefusesAnotherMajorVersionAndNamesBoth) {
    header().layout_major = kLayoutMajor + 8;
    header().layout_minor = 5;
    expect_segment_refused(VMRPC_LAYOUT_VERSION, "is 10.5");
    expect_segment_refused(VMRPC_LAYOUT_VERSION, "is 2.0");
}

TEST_F(SegmentTest, RefusesAnotherByteOrder) {
    header().byte_order = __builtin_bswap32(kByteOrderMark);
    expect_segment_refused(VMRPC_LAYOUT_VERSION, "0x4030201");
}

TEST_F(SegmentTest, RefusesAnotherPointerWidth) {
    header().pointer_bits = 32;
    expect_segment_refused(VMRPC_LAYOUT_VERSION, "pointer width 32");
}

TEST_F(SegmentTest, RefusesAnotherLineSize) {
    header().line_bytes = 128;
    expect_segment_refused(VMRPC_LAYOUT_VERSION, "line size 128");
}

TEST_F(SegmentTest, RefusesAnUnknownRequiredCapability) {
    header().required_capabilities = std::uint64_t{1} << 63;
    expect_segment_refused(VMRPC_LAYOUT_VERSION, "0x8000000000000000");
}

TEST_F(SegmentTest, RefusesMoreBytesThanAreMapped) {
    header().segment_bytes = bytes_ + 1;
    expect_segment_refused(VMRPC_POISONED, std::to_string(bytes_ + 1));
}

TEST_F(SegmentTest, RefusesFewerBytesThanItsHeaderTakes) {
    header().segment_bytes = kAreaBytes - 1;
    expect_segment_refused(VMRPC_POISONED, "65535");
}

TEST_F(SegmentTest, RefusesAHeaderSmallerThanItsVersionHas) {
    header().header_bytes = sizeof(SegmentHeader) - 1;
    expect_segment_refused(VMRPC_POISONED, "header of 191 bytes");
}

TEST_F(SegmentTest, RefusesADirectoryWithoutEntries) {
    header().directory_entries = 0;
    expect_segment_refused(VMRPC_POISONED, "0 directory entries");
}

TEST_F(SegmentTest, RefusesMoreDirectoryEntriesThanHaveRoom) {
    header().directory_entries = kMaxDirectoryEntries + 1;
    expect_segment_refused(VMRPC_POISONED, "257 directory entries");
}

TEST_F(SegmentTest, RefusesADirectoryElsewhere) {
    header().directory_offset = kDirectoryOffset + 64;
    expect_segment_refused(VMRPC_POISONED, "at 2112");
}

TEST_F(SegmentTest, RefusesFurtherSegmentsElsewhere) {
    header().further_offset = std::uint64_t{1} << 40;
    expect_segment_refused(VMRPC_POISONED, "1099511627776");
}

TEST_F(SegmentTest, RefusesMoreFurtherSegmentsThanHaveRoom) {
    header().further_entries = kFurtherEntries + 1;
    expect_segment_refused(VMRPC_POISONED, "16 further segments");
}

TEST_F(RegionTest, ReadsWhatWasFormatted) {
    const auto read = read_region(segment(), bytes_, kAreaBytes);
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(std::memcmp(&*read, &plan_, sizeof plan_), 0);
}

TEST_F(RegionTest, RefusesAnOffsetOutsideOfTheSegment) {
    EXPECT_FALSE(read_region(segment(), bytes_, bytes_ / kAreaBytes * kAreaBytes));
    EXPECT_FALSE(read_region(segment(), bytes_, ~std::uint64_t{0} / kAreaBytes * kAreaBytes));
}

TEST_F(RegionTest, RefusesAnOffsetThatIsNotAligned) {
    EXPECT_FALSE(read_region(segment(), bytes_, kAreaBytes + 64));
}

TEST_F(RegionTest, RefusesMemoryWithoutMagic) {
    shared_plan().magic = 0xdead;
    expect_region_refused("magic 0xdead");
}

TEST_F(RegionTest, RefusesAPlanOfAnotherPlace) {
    shared_plan().region_offset += kAreaBytes;
    expect_region_refused("offset 131072");
}

TEST_F(RegionTest, RefusesMoreBytesThanTheSegmentHas) {
    shared_plan().region_bytes = bytes_ - kAreaBytes + 1;
    expect_region_refused("cannot be");
}

TEST_F(RegionTest, RefusesNoLanes) {
    shared_plan().lane_count = 0;
    expect_region_refused("0 lanes");
}

TEST_F(RegionTest, RefusesTooManyLanes) {
    shared_plan().lane_count = kMaxLanes + 1;
    expect_region_refused("65 lanes");
}

TEST_F(RegionTest, RefusesQueuesOutside) {
    shared_plan().queues_offset = plan_.region_offset + plan_.region_bytes - kAreaBytes;
    expect_region_refused("remote-free queues");
}

TEST_F(RegionTest, RefusesLanesBeforeTheRegion) {
    shared_plan().lanes_offset = 0;
    expect_region_refused("lanes");
}

TEST_F(RegionTest, RefusesLanesThatAreNotAligned) {
    shared_plan().lanes_offset += 64;
    expect_region_refused("lanes");
}

TEST_F(RegionTest, RefusesStacksOutside) {
    shared_plan().stacks_offset = plan_.region_offset + plan_.region_bytes;
    expect_region_refused("RPC stacks");
}

TEST_F(RegionTest, RefusesStacksWhoseSizeOverflows) {
    shared_plan().stack_bytes = (~std::uint64_t{0} / 3 + 1 + kAreaBytes) / kAreaBytes * kAreaBytes;
    expect_region_refused("RPC stacks");
}

TEST_F(RegionTest, RefusesStacksOfHalfAnArea) {
    shared_plan().stack_bytes -= 32;
    expect_region_refused("not multiples of 65536");
}

TEST_F(RegionTest, RefusesArenasOutside) {
    shared_plan().arena_bytes += kAreaBytes;
    expect_region_refused("heap arenas");
}

TEST_F(RegionTest, RefusesArenasOfHalfAnArea) {
    shared_plan().arena_bytes -= 8;
    expect_region_refused("not multiples of 65536");
}

TEST(Plan, FillsARegionOfAGivenSize) {
    for (const std::uint64_t extra_bytes : {std::uint64_t{0}, std::uint64_t{4097}, std::uint64_t{1} << 30}) {
        const std::uint64_t bytes = plan_region(kAreaBytes, kSizes).region_bytes + extra_bytes;
        const auto plan = plan_region_within(kAreaBytes, bytes, kSizes);
        ASSERT_TRUE(plan) << plan.error().text;
        EXPECT_GE(plan->arena_bytes, kMinArenaBytes);
        EXPECT_LE(plan->region_bytes, bytes);
        EXPECT_LT(bytes - plan->region_bytes, 2 * kAreaBytes) << "an area of each arena would still fit";
    }
}

TEST(Plan, RefusesARegionTooSmallForItsHeap) {
    const std::uint64_t bytes = plan_region(kAreaBytes, kSizes).region_bytes;
    const auto plan = plan_region_within(kAreaBytes, bytes - 1, kSizes);
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().status, VMRPC_BAD_ARGUMENT);
    EXPECT_THAT(plan.error().text, HasSubstr(std::to_string(bytes - 1)));
}

TEST(Plan, PutsEveryAreaInItsPlaceForEveryNumberOfLanes) {
    for (std::uint32_t lanes = 1; lanes <= kMaxLanes; ++lanes) {
        const RegionPlan plan = plan_region(
            kAreaBytes, {.lane_count = lanes, .stack_bytes = 4 * kAreaBytes, .arena_bytes = 16 * kAreaBytes});
        for (const std::uint64_t offset :
             {plan.queues_offset, plan.lanes_offset, plan.stacks_offset, plan.arenas_offset})
            EXPECT_EQ(offset % kAreaBytes, 0U) << lanes << " lanes";
        EXPECT_GE(plan.queues_offset, plan.region_offset + sizeof(ControlPage));
        EXPECT_GE(plan.lanes_offset, plan.queues_offset + kQueueStride + sizeof(RemoteFreeQueue));
        EXPECT_GE(plan.stacks_offset, plan.lanes_offset + lanes * sizeof(Lane));
        EXPECT_GE(plan.arenas_offset, plan.stack_offset(lanes - 1) + plan.stack_bytes);
        EXPECT_EQ(plan.arena_offset(Side::kServer), plan.arena_offset(Side::kClient) + plan.arena_bytes);
        EXPECT_EQ(plan.region_offset + plan.region_bytes, plan.arena_offset(Side::kServer) + plan.arena_bytes);
        EXPECT_LE(plan.stacks_offset, 2U << 20) << "an idle connection's control page, queues and lanes";
    }
}

TEST(Plan, RoundsASegmentUpToLargePages) {
    EXPECT_EQ(segment_bytes_for(kSizes) % (2U << 20), 0U);
    const RegionPlan plan = plan_region(kAreaBytes, kSizes);
    EXPECT_GE(segment_bytes_for(kSizes), plan.region_offset + plan.region_bytes);
}

TEST(Uuid, IsRandomAndOfVersion4) {
    const Uuid uuid = make_uuid();
    EXPECT_EQ(uuid[6] >> 4, 4);
    EXPECT_EQ(uuid[8] >> 6, 2);
    EXPECT_NE(uuid, make_uuid());
}

}  // namespace
}  // namespace vmrpc::layout
