// A segment with one region and two calls, formatted into private memory, against the bytes in segment.hex. The same
// under every compiler: so all of them lay it out alike. What depends on the machine is masked: the address bits and
// the page size in the header show as "..".
#include "call/client_lane.hpp"
#include "call/server_lane.hpp"
#include "layout/plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <new>
#include <set>
#include <string>
#include <string_view>

namespace vmrpc::golden {
namespace {

using layout::ControlPage;
using layout::SegmentHeader;

constexpr std::size_t kRowBytes = 16;

/// Offsets of the bytes that the machine decides.
std::set<std::size_t> masked() {
    std::set<std::size_t> offsets{offsetof(SegmentHeader, address_bits)};
    for (std::size_t i = 0; i < sizeof(SegmentHeader::owner_page_bytes); ++i)
        offsets.insert(offsetof(SegmentHeader, owner_page_bytes) + i);
    return offsets;
}

std::string hex_of(unsigned value, int digits) {
    std::string text;
    while (digits-- > 0) text += "0123456789abcdef"[value >> (4 * digits) & 15U];
    return text;
}

class Segment {
  public:
    Segment() : plan_(layout::plan_region(layout::kAreaBytes, kSizes)) {
        const std::uint64_t bytes = layout::segment_bytes_for(kSizes);
        memory_.reset(static_cast<std::byte*>(std::aligned_alloc(layout::kAreaBytes, bytes)));
        if (memory_ == nullptr) throw std::bad_alloc();
        std::memset(memory_.get(), 0, bytes);
        layout::Uuid uuid{};
        for (std::size_t i = 0; i < uuid.size(); ++i) uuid[i] = static_cast<std::uint8_t>(0xa0 + i);
        layout::format_segment(base(), bytes, 1, uuid, "golden");
        plan_.agreed_address = 0x1122334455660000;
        plan_.epoch = 3;
        plan_.connection = 7;
        plan_.flags = layout::kRegionTrusted;
        layout::format_region(base(), plan_);
    }

    /// A call whose frames are inline, and one whose frames lie on the RPC stack and that fails.
    void make_two_calls() {
        auto& lane = *reinterpret_cast<layout::Lane*>(base() + plan_.lanes_offset);
        const layout::Extent stack{plan_.stack_offset(0), plan_.stack_bytes};
        call::ClientLane client(lane, 0, base(), stack, 0);
        call::ServerLane server(lane, 0, base(), stack, false);

        const auto first = client.reserve(12, 8).value();
        std::memcpy(first.arguments, "ARGUMENTS...", 12);
        client.post(first, 16, 12, 8, 1'000'000'000);
        const auto first_taken = server.take().value();
        std::array<std::byte, 8> result{};
        std::memcpy(result.data(), "RESULT..", result.size());
        server.reply(first_taken, result.data(), result.size());

        const auto second = client.reserve(40, 56).value();
        std::memset(second.arguments, 0x5a, 40);
        client.post(second, 17, 40, 56, 0);
        server.reply_error(server.take().value(), VMRPC_FUNCTION_FAILED, "no such luck");
    }

    /// The parts of the segment that are written, a row of 16 bytes in each line; a row of zeros is left out.
    [[nodiscard]] std::string dump() const {
        const std::uint64_t lane = plan_.lanes_offset;
        return "# segment header\n" + rows(0, sizeof(SegmentHeader)) +  //
               "# control page\n" + rows(plan_.region_offset, sizeof(ControlPage)) + "# lane 0: requests\n" +
               rows(lane + offsetof(layout::Lane, requests), 2 * sizeof(layout::Request)) + "# lane 0: replies\n" +
               rows(lane + offsetof(layout::Lane, replies), 2 * sizeof(layout::Reply)) + "# lane 0: error texts\n" +
               rows(lane + offsetof(layout::Lane, error_texts), 2 * layout::kErrorTextBytes) +
               "# lane 0: end of the RPC stack\n" + rows(plan_.stack_offset(1) - 128, 128);
    }

  private:
    static constexpr layout::RegionSizes kSizes{
        .lane_count = 2, .stack_bytes = layout::kAreaBytes, .arena_bytes = layout::kMinArenaBytes};
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };

    [[nodiscard]] std::byte* base() const { return memory_.get(); }
    [[nodiscard]] std::string rows(std::uint64_t offset, std::size_t bytes) const {
        static const std::set<std::size_t> kMasked = masked();
        std::string text;
        for (const std::uint64_t end = offset + bytes; offset < end; offset += kRowBytes) {
            const std::byte* row = base() + offset;
            if (std::all_of(row, row + kRowBytes, [](std::byte value) { return value == std::byte{0}; })) continue;
            text += hex_of(static_cast<unsigned>(offset), 8) + ':';
            for (std::size_t i = 0; i < kRowBytes; ++i)
                text += ' ' + (kMasked.contains(offset + i) ? ".." : hex_of(std::to_integer<unsigned>(row[i]), 2));
            text += '\n';
        }
        return text;
    }

    std::unique_ptr<std::byte, Free> memory_;
    layout::RegionPlan plan_;
};

std::string committed() {
    std::ifstream file(VMRPC_GOLDEN_FILE);
    return {std::istreambuf_iterator<char>(file), {}};
}

TEST(GoldenBytes, AreWhatTheyWere) {
    Segment segment;
    segment.make_two_calls();
    // If the layout was meant to change: raise its version, and put the bytes below into segment.hex.
    EXPECT_EQ(segment.dump(), committed());
}

}  // namespace
}  // namespace vmrpc::golden
