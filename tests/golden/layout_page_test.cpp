// docs/LAYOUT.md against the code: every field, every constant, every offset of the example.
#include "layout_page.hpp"

#include "call/function.hpp"
#include "call/pages_calls.hpp"
#include "call/resolve.hpp"
#include "heap/size_class.hpp"
#include "layout/plan.hpp"
#include "layout/stack_parts.hpp"
#include "layout/wild.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace vmrpc::golden {
namespace {

using call::PagesRequest;
using call::ResolveReply;
using call::ResolveRequest;
using call::WireSpan;
using layout::ClientState;
using layout::ControlPage;
using layout::DirectoryClaim;
using layout::DirectoryEntry;
using layout::DirectoryOffer;
using layout::DoorbellCard;
using layout::FurtherSegment;
using layout::Lane;
using layout::RegionPlan;
using layout::RemoteFreeQueue;
using layout::Reply;
using layout::Request;
using layout::RingMe;
using layout::Rung;
using layout::SegmentHeader;
using layout::ServerState;

const Page& page() {
    static const Page read = read_page(VMRPC_LAYOUT_PAGE);
    return read;
}

struct Layout {
    std::size_t bytes;
    std::vector<Row> fields;
};

#define VMRPC_FIELD(type, field)                               \
    Row {                                                      \
        offsetof(type, field), sizeof(type::field), #field, {} \
    }
// A field of a field.
#define VMRPC_PART(type, part)                                              \
    Row {                                                                   \
        offsetof(type, part), sizeof(std::declval<type&>().part), #part, {} \
    }
// One of an array.
#define VMRPC_ELEMENT(type, field, index)                                                                         \
    Row {                                                                                                         \
        offsetof(type, field) + index * sizeof(type::field[0]), sizeof(type::field[0]), #field "[" #index "]", {} \
    }

std::map<std::string, Layout> code() {
    return {
        {"SegmentHeader",
         {sizeof(SegmentHeader),
          {VMRPC_FIELD(SegmentHeader, magic),
           VMRPC_FIELD(SegmentHeader, layout_major),
           VMRPC_FIELD(SegmentHeader, layout_minor),
           VMRPC_FIELD(SegmentHeader, header_bytes),
           VMRPC_FIELD(SegmentHeader, required_capabilities),
           VMRPC_FIELD(SegmentHeader, optional_capabilities),
           VMRPC_FIELD(SegmentHeader, segment_bytes),
           VMRPC_FIELD(SegmentHeader, byte_order),
           VMRPC_FIELD(SegmentHeader, line_bytes),
           VMRPC_FIELD(SegmentHeader, pointer_bits),
           VMRPC_FIELD(SegmentHeader, address_bits),
           VMRPC_FIELD(SegmentHeader, owner_page_bytes),
           VMRPC_FIELD(SegmentHeader, directory_entries),
           VMRPC_FIELD(SegmentHeader, directory_offset),
           VMRPC_FIELD(SegmentHeader, uuid),
           VMRPC_FIELD(SegmentHeader, made_by),
           VMRPC_FIELD(SegmentHeader, further_offset),
           VMRPC_FIELD(SegmentHeader, further_entries),
           VMRPC_FIELD(SegmentHeader, segment_index),
           VMRPC_FIELD(SegmentHeader, reserved)}}},
        {"FurtherSegment",
         {sizeof(FurtherSegment),
          {VMRPC_FIELD(FurtherSegment, state), VMRPC_FIELD(FurtherSegment, side),
           VMRPC_FIELD(FurtherSegment, segment_bytes), VMRPC_FIELD(FurtherSegment, agreed_address),
           VMRPC_FIELD(FurtherSegment, uuid), VMRPC_FIELD(FurtherSegment, arena_bytes),
           VMRPC_FIELD(FurtherSegment, heap), VMRPC_FIELD(FurtherSegment, reserved)}}},
        {"DirectoryEntry",
         {sizeof(DirectoryEntry), {VMRPC_FIELD(DirectoryEntry, offer), VMRPC_FIELD(DirectoryEntry, claim)}}},
        {"DirectoryOffer",
         {sizeof(DirectoryOffer),
          {VMRPC_FIELD(DirectoryOffer, state), VMRPC_FIELD(DirectoryOffer, generation),
           VMRPC_FIELD(DirectoryOffer, region_offset), VMRPC_FIELD(DirectoryOffer, region_bytes),
           VMRPC_FIELD(DirectoryOffer, agreed_address), VMRPC_FIELD(DirectoryOffer, ring_vector),
           VMRPC_FIELD(DirectoryOffer, status), VMRPC_FIELD(DirectoryOffer, reserved)}}},
        {"DirectoryClaim",
         {sizeof(DirectoryClaim),
          {VMRPC_FIELD(DirectoryClaim, state), VMRPC_FIELD(DirectoryClaim, generation),
           VMRPC_FIELD(DirectoryClaim, pid), VMRPC_FIELD(DirectoryClaim, page_bytes),
           VMRPC_FIELD(DirectoryClaim, ring_vector), VMRPC_FIELD(DirectoryClaim, flags),
           VMRPC_FIELD(DirectoryClaim, address), VMRPC_FIELD(DirectoryClaim, heap_bytes),
           VMRPC_FIELD(DirectoryClaim, lane_count), VMRPC_FIELD(DirectoryClaim, reserved0),
           VMRPC_FIELD(DirectoryClaim, service), VMRPC_FIELD(DirectoryClaim, reserved)}}},
        {"DoorbellCard",
         {sizeof(DoorbellCard),
          {VMRPC_FIELD(DoorbellCard, magic), VMRPC_FIELD(DoorbellCard, layout_major),
           VMRPC_FIELD(DoorbellCard, layout_minor), VMRPC_FIELD(DoorbellCard, reserved0),
           VMRPC_FIELD(DoorbellCard, segment_uuid), VMRPC_FIELD(DoorbellCard, reserved)}}},
        {"RegionPlan",
         {sizeof(RegionPlan),
          {VMRPC_FIELD(RegionPlan, magic), VMRPC_FIELD(RegionPlan, epoch), VMRPC_FIELD(RegionPlan, lane_count),
           VMRPC_FIELD(RegionPlan, region_offset), VMRPC_FIELD(RegionPlan, region_bytes),
           VMRPC_FIELD(RegionPlan, agreed_address), VMRPC_FIELD(RegionPlan, queues_offset),
           VMRPC_FIELD(RegionPlan, lanes_offset), VMRPC_FIELD(RegionPlan, stacks_offset),
           VMRPC_FIELD(RegionPlan, stack_bytes), VMRPC_FIELD(RegionPlan, arenas_offset),
           VMRPC_FIELD(RegionPlan, arena_bytes), VMRPC_FIELD(RegionPlan, flags), VMRPC_FIELD(RegionPlan, connection),
           VMRPC_FIELD(RegionPlan, reserved)}}},
        {"ControlPage",
         {sizeof(ControlPage),
          {VMRPC_FIELD(ControlPage, plan), VMRPC_FIELD(ControlPage, server), VMRPC_FIELD(ControlPage, client),
           VMRPC_ELEMENT(ControlPage, ring_me, 0), VMRPC_ELEMENT(ControlPage, ring_me, 1),
           VMRPC_ELEMENT(ControlPage, rung, 0), VMRPC_ELEMENT(ControlPage, rung, 1),
           VMRPC_FIELD(ControlPage, server_text)}}},
        {"ServerState",
         {sizeof(ServerState),
          {VMRPC_FIELD(ServerState, state), VMRPC_FIELD(ServerState, status), VMRPC_FIELD(ServerState, poller_cpu),
           VMRPC_FIELD(ServerState, calls_back), VMRPC_FIELD(ServerState, reserved)}}},
        {"ClientState",
         {sizeof(ClientState),
          {VMRPC_FIELD(ClientState, state), VMRPC_FIELD(ClientState, lanes_in_use), VMRPC_FIELD(ClientState, only_cpu),
           VMRPC_FIELD(ClientState, reserved)}}},
        {"RingMe", {sizeof(RingMe), {VMRPC_FIELD(RingMe, generation), VMRPC_FIELD(RingMe, reserved)}}},
        {"Rung", {sizeof(Rung), {VMRPC_FIELD(Rung, count), VMRPC_FIELD(Rung, reserved)}}},
        {"RemoteFreeQueue",
         {sizeof(RemoteFreeQueue),
          {VMRPC_FIELD(RemoteFreeQueue, tail), VMRPC_FIELD(RemoteFreeQueue, head),
           VMRPC_FIELD(RemoteFreeQueue, offsets)}}},
        {"Lane",
         {sizeof(Lane),
          {VMRPC_FIELD(Lane, requests), VMRPC_FIELD(Lane, replies), VMRPC_FIELD(Lane, callback_replies),
           VMRPC_FIELD(Lane, reserved0), VMRPC_FIELD(Lane, error_texts), VMRPC_FIELD(Lane, callback_requests),
           VMRPC_FIELD(Lane, callback_error_texts)}}},
        {"Request",
         {sizeof(Request),
          {VMRPC_FIELD(Request, sequence), VMRPC_PART(Request, body.function), VMRPC_PART(Request, body.flags),
           VMRPC_PART(Request, body.slot), VMRPC_PART(Request, body.depth), VMRPC_PART(Request, body.frame_bytes),
           VMRPC_PART(Request, body.result_bytes), VMRPC_PART(Request, body.frame_offset),
           VMRPC_PART(Request, body.remaining_ns), VMRPC_PART(Request, body.inline_arguments)}}},
        {"Reply",
         {sizeof(Reply),
          {VMRPC_FIELD(Reply, sequence), VMRPC_PART(Reply, body.status), VMRPC_PART(Reply, body.result_bytes),
           VMRPC_PART(Reply, body.inline_result)}}},
        {"WireSpan", {sizeof(WireSpan), {VMRPC_FIELD(WireSpan, offset), VMRPC_FIELD(WireSpan, count)}}},
        {"ResolveRequest",
         {sizeof(ResolveRequest),
          {VMRPC_FIELD(ResolveRequest, fingerprint), VMRPC_FIELD(ResolveRequest, reserved),
           VMRPC_FIELD(ResolveRequest, signature_bytes), VMRPC_FIELD(ResolveRequest, signature)}}},
        {"PagesRequest", {sizeof(PagesRequest), {VMRPC_FIELD(PagesRequest, offset), VMRPC_FIELD(PagesRequest, bytes)}}},
        {"ResolveReply",
         {sizeof(ResolveReply),
          {VMRPC_FIELD(ResolveReply, status), VMRPC_FIELD(ResolveReply, index),
           VMRPC_FIELD(ResolveReply, signature_bytes), VMRPC_FIELD(ResolveReply, signature)}}},
    };
}

#define VMRPC_CONSTANT(space, name) \
    { #name, static_cast < std::uint64_t>(space::name) }

std::map<std::string, std::uint64_t> constants() {
    return {
        VMRPC_CONSTANT(base, kLineBytes),
        VMRPC_CONSTANT(layout, kAreaBytes),
        VMRPC_CONSTANT(layout, kLayoutMajor),
        VMRPC_CONSTANT(layout, kLayoutMinor),
        VMRPC_CONSTANT(layout, kSegmentMagic),
        VMRPC_CONSTANT(layout, kByteOrderMark),
        VMRPC_CONSTANT(layout, kRequiredCapabilities),
        VMRPC_CONSTANT(layout, kOptionalCapabilities),
        VMRPC_CONSTANT(layout, kFurtherOffset),
        VMRPC_CONSTANT(layout, kFurtherEntries),
        VMRPC_CONSTANT(layout, kFurtherQueuesOffset),
        VMRPC_CONSTANT(layout, kFurtherArenaOffset),
        VMRPC_CONSTANT(layout, kDirectoryOffset),
        VMRPC_CONSTANT(layout, kMaxDirectoryEntries),
        VMRPC_CONSTANT(layout, OfferState::kFree),
        VMRPC_CONSTANT(layout, OfferState::kOffered),
        VMRPC_CONSTANT(layout, OfferState::kRefused),
        VMRPC_CONSTANT(layout, OfferState::kDraining),
        VMRPC_CONSTANT(layout, ClaimState::kNone),
        VMRPC_CONSTANT(layout, ClaimState::kClaimed),
        VMRPC_CONSTANT(layout, ClaimState::kMapped),
        VMRPC_CONSTANT(layout, ClaimState::kGone),
        VMRPC_CONSTANT(layout, kLooks),
        VMRPC_CONSTANT(layout, kDoorbellMagic),
        VMRPC_CONSTANT(layout, kRegionMagic),
        VMRPC_CONSTANT(layout, kRegionTrusted),
        VMRPC_CONSTANT(layout, kRegionBorrows),
        VMRPC_CONSTANT(layout, kRegionHugetlb),
        VMRPC_CONSTANT(layout, kRegionTransparent),
        VMRPC_CONSTANT(layout, kMaxLanes),
        VMRPC_CONSTANT(layout, kMinArenaBytes),
        VMRPC_CONSTANT(layout, kQueueStride),
        VMRPC_CONSTANT(layout, Side::kClient),
        VMRPC_CONSTANT(layout, Side::kServer),
        VMRPC_CONSTANT(layout, RegionState::kOpen),
        VMRPC_CONSTANT(layout, RegionState::kClosed),
        VMRPC_CONSTANT(layout, RegionState::kPoisoned),
        VMRPC_CONSTANT(layout, RemoteFreeQueue::kEntries),
        VMRPC_CONSTANT(layout, kRequestRingLines),
        VMRPC_CONSTANT(layout, kRequestTimed),
        VMRPC_CONSTANT(layout, kRequestBorrows),
        VMRPC_CONSTANT(layout, kReplySlots),
        VMRPC_CONSTANT(layout, kErrorTextBytes),
        VMRPC_CONSTANT(layout, kMostCallDepth),
        VMRPC_CONSTANT(layout, kInlineArgumentBytes),
        VMRPC_CONSTANT(layout, kInlineResultBytes),
        VMRPC_CONSTANT(layout, kStackGuardBytes),
        VMRPC_CONSTANT(layout, kMinExecutionStackBytes),
        VMRPC_CONSTANT(layout, kFramesOnlyStackBytes),
        VMRPC_CONSTANT(layout, kWireOffsetBits),
        VMRPC_CONSTANT(layout, kWireOffsetMask),
        VMRPC_CONSTANT(call, kMaxFrameBytes),
        VMRPC_CONSTANT(call, kFrameAlignment),
        VMRPC_CONSTANT(call, kMaxNameBytes),
        VMRPC_CONSTANT(call, kMaxSignatureBytes),
        VMRPC_CONSTANT(call, kMostPagesBytes),
        VMRPC_CONSTANT(heap, kSpanBytes),
        VMRPC_CONSTANT(layout, ReservedFunction::kResolve),
        VMRPC_CONSTANT(layout, ReservedFunction::kPing),
        VMRPC_CONSTANT(layout, ReservedFunction::kCommit),
        VMRPC_CONSTANT(layout, ReservedFunction::kTrim),
        VMRPC_CONSTANT(layout, ReservedFunction::kCancel),
        VMRPC_CONSTANT(layout, ReservedFunction::kClose),
        VMRPC_CONSTANT(layout, ReservedFunction::kReport),
        VMRPC_CONSTANT(layout, kReservedFunctions),
    };
}

TEST(LayoutPage, HasRegularTables) {
    EXPECT_THAT(page().complaints, testing::IsEmpty());
}

TEST(LayoutPage, DescribesTheStructsOfTheCodeAndNoOthers) {
    std::vector<std::string> described;
    for (const auto& [name, rows] : page().structs) described.push_back(name);
    std::vector<std::string> known;
    for (const auto& [name, layout] : code()) known.push_back(name);
    EXPECT_EQ(described, known);
}

TEST(LayoutPage, HasEveryFieldWithItsPlace) {
    for (const auto& [name, layout] : code()) {
        const auto found = page().structs.find(name);
        ASSERT_NE(found, page().structs.end()) << name;
        std::vector<Row> rows = found->second;
        std::erase_if(rows, [](const Row& row) { return row.name == "(padding)"; });
        ASSERT_EQ(rows.size(), layout.fields.size()) << name;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            EXPECT_EQ(rows[i].name, layout.fields[i].name) << name;
            EXPECT_EQ(rows[i].offset, layout.fields[i].offset) << name << "::" << rows[i].name;
            EXPECT_EQ(rows[i].bytes, layout.fields[i].bytes) << name << "::" << rows[i].name;
        }
    }
}

// So a field that is missing both on the page and in the list above leaves a hole.
TEST(LayoutPage, LeavesNoByteOut) {
    for (const auto& [name, layout] : code()) {
        std::uint64_t end = 0;
        for (const Row& row : page().structs.at(name)) {
            EXPECT_EQ(row.offset, end) << name << "::" << row.name;
            EXPECT_FALSE(row.writer.empty()) << name << "::" << row.name;
            end = row.offset + row.bytes;
        }
        EXPECT_EQ(end, layout.bytes) << name;
    }
}

TEST(LayoutPage, HasEveryConstantWithItsValue) {
    EXPECT_EQ(page().constants, constants());
}

TEST(LayoutPage, NamesOnlyConstantsThatItHas) {
    const auto known = constants();
    for (const std::string& name : page().constants_named) {
        const bool is_known = std::any_of(known.begin(), known.end(), [&](const auto& constant) {
            return constant.first == name || constant.first.ends_with("::" + name);
        });
        EXPECT_TRUE(is_known) << name;
    }
}

TEST(LayoutPage, HasTheFirstAreaOfASegment) {
    const auto& rows = page().areas.at("A segment");
    ASSERT_EQ(rows.size(), 3U);
    EXPECT_EQ(rows[0].bytes, sizeof(SegmentHeader));
    EXPECT_EQ(rows[1].offset, layout::kFurtherOffset);
    EXPECT_EQ(rows[1].bytes, layout::kFurtherEntries * sizeof(FurtherSegment));
    EXPECT_EQ(rows[2].offset, layout::kDirectoryOffset);
    EXPECT_EQ(rows[2].bytes, layout::kMaxDirectoryEntries * sizeof(DirectoryEntry));
}

TEST(LayoutPage, HasTheExampleThatThePlanGives) {
    const layout::RegionSizes sizes{.arena_bytes = std::uint64_t{512} << 20};
    const RegionPlan plan = layout::plan_region(layout::kAreaBytes, sizes);
    const std::vector<std::pair<std::uint64_t, std::uint64_t>> expected = {
        {0, layout::kAreaBytes},
        {plan.region_offset, plan.queues_offset - plan.region_offset},
        {plan.queues_offset, plan.lanes_offset - plan.queues_offset},
        {plan.lanes_offset, plan.stacks_offset - plan.lanes_offset},
        {plan.stacks_offset, plan.arenas_offset - plan.stacks_offset},
        {plan.arena_offset(layout::Side::kClient), plan.arena_bytes},
        {plan.arena_offset(layout::Side::kServer), plan.arena_bytes},
        {0, layout::segment_bytes_for(sizes)},
    };
    std::vector<std::pair<std::uint64_t, std::uint64_t>> shown;
    for (const Row& row : page().areas.at("Example")) shown.emplace_back(row.offset, row.bytes);
    EXPECT_EQ(shown, expected);
}

}  // namespace
}  // namespace vmrpc::golden
