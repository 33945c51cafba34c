// From wild to tame: every edge, and a property against arithmetic that cannot overflow.
#include "layout/wild.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace vmrpc::layout {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
constexpr Extent kExtent{.offset = 0x10000, .bytes = 0x4000};
__extension__ using Wide = unsigned __int128;

/// A base that is never dereferenced.
std::byte* segment() {
    return reinterpret_cast<std::byte*>(std::uintptr_t{1} << 44);
}

std::optional<std::uint64_t> tamed(WireOffset where, std::uint64_t count, std::uint64_t element_bytes = 1,
                                   std::uint64_t alignment = 1) {
    const auto place = tame(segment(), kExtent, Wild(where), Wild(count), element_bytes, alignment);
    if (!place) return std::nullopt;
    return static_cast<std::uint64_t>(*place - segment());
}

TEST(Holds, TakesTheWholeAndItsEnds) {
    EXPECT_TRUE(holds(kExtent, 0x10000, 0x4000));
    EXPECT_TRUE(holds(kExtent, 0x10000, 0));
    EXPECT_TRUE(holds(kExtent, 0x13fff, 1));
    EXPECT_TRUE(holds(kExtent, 0x14000, 0));
}

TEST(Holds, RefusesOneByteBeyondEachEdge) {
    EXPECT_FALSE(holds(kExtent, 0x0ffff, 1));
    EXPECT_FALSE(holds(kExtent, 0x0ffff, 0x4001));
    EXPECT_FALSE(holds(kExtent, 0x10000, 0x4001));
    EXPECT_FALSE(holds(kExtent, 0x13fff, 2));
    EXPECT_FALSE(holds(kExtent, 0x14000, 1));
    EXPECT_FALSE(holds(kExtent, 0x14001, 0));
}

TEST(Holds, RefusesSumsThatOverflow) {
    EXPECT_FALSE(holds(kExtent, 0x10001, kMax));
    EXPECT_FALSE(holds(kExtent, kMax, 1));
    EXPECT_FALSE(holds(kExtent, kMax, kMax));
    EXPECT_FALSE(holds(kExtent, 0x12000, kMax - 0x12000 + 1 + 0x10000)) << "its end wraps to the extent's begin";
}

TEST(Holds, KnowsTheEmptyExtent) {
    EXPECT_TRUE(holds(Extent{64, 0}, 64, 0));
    EXPECT_FALSE(holds(Extent{64, 0}, 64, 1));
}

TEST(Tame, GivesTheAddressOfWhatLiesInside) {
    EXPECT_EQ(tamed(0x10008, 2, 8, 8), 0x10008U);
    EXPECT_EQ(tamed(0x13ff8, 1, 8, 8), 0x13ff8U);
    EXPECT_EQ(tamed(0x10000, 0x800, 8, 8), 0x10000U);
    EXPECT_EQ(tamed(0x14000, 0, 8, 8), 0x14000U) << "nothing, at the end";
}

TEST(Tame, RefusesOneElementTooMany) {
    EXPECT_FALSE(tamed(0x10000, 0x801, 8, 8));
    EXPECT_FALSE(tamed(0x13ff8, 2, 8, 8));
    EXPECT_FALSE(tamed(0x14000, 1, 8, 8));
}

TEST(Tame, RefusesWhatStartsBefore) {
    EXPECT_FALSE(tamed(0x0fff8, 1, 8, 8));
    EXPECT_FALSE(tamed(0, 1));
}

TEST(Tame, RefusesWhatIsNotAligned) {
    EXPECT_EQ(tamed(0x10004, 1, 4, 4), 0x10004U);
    EXPECT_FALSE(tamed(0x10004, 1, 4, 8));
    EXPECT_FALSE(tamed(0x10001, 1, 1, 2));
    EXPECT_EQ(tamed(0x10001, 1, 1, 1), 0x10001U);
}

TEST(Tame, RefusesAnotherSegment) {
    EXPECT_FALSE(tamed(to_wire(1, 0x10000), 1));
    EXPECT_FALSE(tamed(to_wire(0xffff, 0x10000), 1));
    EXPECT_EQ(tamed(to_wire(0, 0x10000), 1), 0x10000U);
}

TEST(Tame, RefusesCountsWhoseBytesOverflow) {
    EXPECT_FALSE(tamed(0x10000, kMax, 2));
    EXPECT_FALSE(tamed(0x10000, std::uint64_t{1} << 61, 8)) << "2^64 bytes, which wraps to 0";
    EXPECT_FALSE(tamed(0x10000, (std::uint64_t{1} << 61) + 1, 8)) << "wraps to 8";
    EXPECT_FALSE(tamed(0x10000, kMax, kMax));
}

TEST(WildNumber, IsGivenOutWithinItsBound) {
    EXPECT_EQ(Wild<std::uint32_t>(15).below(16), 15U);
    EXPECT_FALSE(Wild<std::uint32_t>(16).below(16));
    EXPECT_FALSE(Wild<std::uint32_t>(0).below(0));
    EXPECT_EQ(Wild<std::uint32_t>(16).at_most(16), 16U);
    EXPECT_FALSE(Wild<std::uint32_t>(17).at_most(16));
}

/// Numbers near the ends of every width and of the extent.
rc::Gen<std::uint64_t> on_the_edge() {
    const auto nearby = [](std::uint64_t middle) {
        return rc::gen::map(rc::gen::inRange<std::uint64_t>(0, 33),
                            [middle](std::uint64_t step) { return middle - 16 + step; });
    };
    return rc::gen::oneOf(nearby(0), nearby(kExtent.offset), nearby(kExtent.end()), nearby(kExtent.bytes),
                          nearby(std::uint64_t{1} << 48), nearby(std::uint64_t{1} << 61),
                          rc::gen::arbitrary<std::uint64_t>());
}
/// Mostly within a range, sometimes on an edge.
rc::Gen<std::uint64_t> mostly_in(std::uint64_t first, std::uint64_t last) {
    return rc::gen::weightedOneOf<std::uint64_t>({{3, rc::gen::inRange(first, last + 1)}, {1, on_the_edge()}});
}

RC_GTEST_PROP(WildProperty, HoldsAgreesWithWideArithmetic, ()) {
    const std::uint64_t offset = *mostly_in(kExtent.offset, kExtent.end());
    const std::uint64_t bytes = *mostly_in(0, kExtent.bytes);
    const bool expected = offset >= kExtent.offset && Wide{offset} + bytes <= Wide{kExtent.offset} + kExtent.bytes;
    RC_TAG(expected);
    RC_ASSERT(holds(kExtent, offset, bytes) == expected);
}

RC_GTEST_PROP(WildProperty, TameAgreesWithWideArithmetic, ()) {
    const std::uint64_t alignment = std::uint64_t{1} << *rc::gen::inRange(0, 7);
    const std::uint64_t somewhere = *mostly_in(kExtent.offset, kExtent.end());
    const std::uint64_t wire = *rc::gen::arbitrary<bool>() ? somewhere / alignment * alignment : somewhere;
    const std::uint64_t count = *mostly_in(0, 200);
    const std::uint64_t element_bytes = *mostly_in(1, 64);
    const Wide bytes = Wide{count} * element_bytes;
    const bool expected = wire < (Wide{1} << 48) && wire >= kExtent.offset && wire % alignment == 0 &&
                          Wide{wire} + bytes <= Wide{kExtent.offset} + kExtent.bytes;
    RC_TAG(expected);
    const auto place = tamed(wire, count, element_bytes, alignment);
    RC_ASSERT(place.has_value() == expected);
    if (place) RC_ASSERT(*place == wire);
}

}  // namespace
}  // namespace vmrpc::layout
