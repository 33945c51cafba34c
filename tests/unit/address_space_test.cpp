#include "transport/address_space.hpp"

#include "transport/mapping.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <string>

namespace vmrpc::transport {
namespace {

constexpr std::uint64_t slot_at(std::uint32_t slot) {
    return kFirstSlot + slot * kSlotBytes;
}

bool dont_fork_and_dont_dump(std::uint64_t address) {
    std::ifstream smaps("/proc/self/smaps");
    bool is_it = false;
    const std::string wanted = fmt::format("{:x}-", address);
    for (std::string line; std::getline(smaps, line);) {
        if (line.starts_with(wanted)) is_it = true;
        if (is_it && line.starts_with("VmFlags:"))
            return line.find(" dc") != std::string::npos && line.find(" dd") != std::string::npos;
    }
    return false;
}

TEST(SlotMap, SlotsThatShareAByteWithAMappingAreUsed) {
    SlotMap map = SlotMap::all_free();
    map.use(slot_at(3) + kSlotBytes - 1, slot_at(5) + 1);
    EXPECT_TRUE(map.is_free(2));
    EXPECT_FALSE(map.is_free(3));
    EXPECT_FALSE(map.is_free(4));
    EXPECT_FALSE(map.is_free(5));
    EXPECT_TRUE(map.is_free(6));
}

TEST(SlotMap, MappingsOutsideTheSlotsChangeNothing) {
    SlotMap map = SlotMap::all_free();
    map.use(0, kFirstSlot);
    map.use(slot_at(kSlotCount), ~std::uint64_t{0});
    EXPECT_EQ(map.words(), SlotMap::all_free().words());
    map.use(kFirstSlot - 1, kFirstSlot + 1);
    EXPECT_FALSE(map.is_free(0));
    map.use(0, ~std::uint64_t{0});
    EXPECT_EQ(map.words(), SlotMap().words());
}

TEST(SlotMap, FindGoesRoundFromTheStart) {
    SlotMap map;
    map = SlotMap::all_free();
    map.use(slot_at(10), slot_at(kSlotCount));
    EXPECT_EQ(map.find(1, 4), slot_at(4));
    EXPECT_EQ(map.find(1, 12), slot_at(0));
    EXPECT_EQ(map.find(kSlotBytes, 9), slot_at(9));
}

TEST(SlotMap, LargeSegmentsTakeAdjacentSlots) {
    SlotMap map = SlotMap::all_free();
    map.use(slot_at(2), slot_at(3));
    map.use(slot_at(6), slot_at(kSlotCount));
    EXPECT_EQ(map.find(kSlotBytes + 1, 0), slot_at(0));
    EXPECT_EQ(map.find(2 * kSlotBytes + 1, 0), slot_at(3));
    EXPECT_EQ(map.find(3 * kSlotBytes, 4), slot_at(3));  // reaches back over where the search began
    EXPECT_EQ(map.find(3 * kSlotBytes + 1, 0), std::nullopt);
}

TEST(SlotMap, LastAndFirstSlotAreNotAdjacent) {
    SlotMap map = SlotMap::all_free();
    map.use(slot_at(1), slot_at(kSlotCount - 1));
    EXPECT_EQ(map.find(2 * kSlotBytes, kSlotCount - 1), std::nullopt);
    EXPECT_EQ(map.find(kSlotBytes, kSlotCount - 1), slot_at(kSlotCount - 1));
}

TEST(SlotMap, ImpossibleSizesAreNotFound) {
    EXPECT_EQ(SlotMap::all_free().find(0, 0), std::nullopt);
    EXPECT_EQ(SlotMap::all_free().find(~std::uint64_t{0}, 0), std::nullopt);
    EXPECT_EQ(SlotMap().find(1, 0), std::nullopt);
    EXPECT_EQ(SlotMap::all_free().find(kSlotCount * kSlotBytes, 7), slot_at(0));
}

TEST(SlotMap, OnlySlotsFreeOnBothSidesAreFound) {
    SlotMap ours = SlotMap::all_free();
    SlotMap theirs = SlotMap::all_free();
    ours.use(slot_at(0), slot_at(5));
    theirs.use(slot_at(6), slot_at(kSlotCount));
    EXPECT_EQ((ours & theirs).find(1, 0), slot_at(5));
    EXPECT_EQ((ours & theirs).find(kSlotBytes + 1, 0), std::nullopt);
}

TEST(SlotMap, ReadsMapsAndPassesOverWhatItCannotRead) {
    const std::string maps = fmt::format(
        "{:x}-{:x} rw-p 00000000 00:00 0\nnonsense\n\n{:x}\n{:x}-\n-12\n{:x}-{:x} r--p 00000000 00:00 0 [end without "
        "newline]",
        slot_at(1), slot_at(2), slot_at(7), slot_at(8), slot_at(4), slot_at(4) + 4096);
    SlotMap expected = SlotMap::all_free();
    expected.use(slot_at(1), slot_at(2));
    expected.use(slot_at(4), slot_at(4) + 1);
    EXPECT_EQ(free_slots_of(maps).words(), expected.words());
    EXPECT_EQ(free_slots_of("").words(), SlotMap::all_free().words());
}

TEST(OwnFreeSlots, MappedSlotIsNotFree) {
    const auto before = own_free_slots();
    ASSERT_TRUE(before);
    const auto address = before->find(1, random_slot());
    ASSERT_TRUE(address);
    const auto slot = static_cast<std::uint32_t>((*address - kFirstSlot) / kSlotBytes);
    const auto memory = make_segment_memory(kMappingAlignment);
    const auto mapping = Mapping::at(*address, memory->get(), kMappingAlignment, layout::make_uuid());
    ASSERT_TRUE(mapping) << mapping.error().text;
    EXPECT_FALSE(own_free_slots()->is_free(slot));
}

TEST(RandomSlot, Varies) {
    std::set<std::uint32_t> seen;
    for (int i = 0; i < 64; ++i) {
        seen.insert(random_slot());
        EXPECT_LT(*seen.rbegin(), kSlotCount);
    }
    EXPECT_GT(seen.size(), 8U);
}

TEST(Mapping, NeverReplacesWhatIsThere) {
    const auto memory = make_segment_memory(kMappingAlignment);
    const auto first = Mapping::anywhere(memory->get(), kMappingAlignment, layout::make_uuid());
    ASSERT_TRUE(first);
    (*first)->base()[0] = std::byte{7};
    const auto second = Mapping::at((*first)->address(), memory->get(), kMappingAlignment, layout::make_uuid());
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().status, VMRPC_OUT_OF_RESOURCES);
    EXPECT_EQ((*first)->base()[0], std::byte{7});
}

TEST(Mapping, IsAlignedAndNeitherForkedNorDumped) {
    const auto memory = make_segment_memory(kMappingAlignment);
    for (int i = 0; i < 4; ++i) {
        const auto mapping = Mapping::anywhere(memory->get(), kMappingAlignment, layout::make_uuid());
        ASSERT_TRUE(mapping);
        EXPECT_EQ((*mapping)->address() % kMappingAlignment, 0U);
        EXPECT_TRUE(dont_fork_and_dont_dump((*mapping)->address()));
    }
}

TEST(Mapping, RefusesAddressesThatNoSegmentHas) {
    const auto memory = make_segment_memory(kMappingAlignment);
    for (const std::uint64_t address : {std::uint64_t{0}, kFirstSlot + 4096})
        EXPECT_EQ(Mapping::at(address, memory->get(), kMappingAlignment, layout::make_uuid()).error().status,
                  VMRPC_BAD_ARGUMENT);
}

TEST(Mapping, IsFoundByMemoryAndUuidForAsLongAsItLives) {
    const auto uuid = layout::make_uuid();
    const auto memory = make_segment_memory(kMappingAlignment);
    const auto other_memory = make_segment_memory(kMappingAlignment);
    {
        const auto mapping = Mapping::anywhere(memory->get(), kMappingAlignment, uuid);
        EXPECT_EQ(Mapping::existing(memory->get(), uuid), *mapping);
        EXPECT_EQ(Mapping::existing(memory->get(), layout::make_uuid()), nullptr);
        // A peer that knows another connection's uuid gets nowhere with it.
        EXPECT_EQ(Mapping::existing(other_memory->get(), uuid), nullptr);
    }
    EXPECT_EQ(Mapping::existing(memory->get(), uuid), nullptr);
}

TEST(Mapping, CommonSlotIsFreeOnBothSides) {
    const auto ours = own_free_slots();
    const auto address = ours->find(1, random_slot());
    ASSERT_TRUE(address);
    const auto slot = static_cast<std::uint32_t>((*address - kFirstSlot) / kSlotBytes);
    SlotMap::Words words{};
    words[slot / 64] = std::uint64_t{1} << (slot % 64);
    const auto memory = make_segment_memory(kMappingAlignment);
    const auto first = Mapping::at_common_slot(SlotMap(words), memory->get(), kMappingAlignment, layout::make_uuid());
    ASSERT_TRUE(first) << first.error().text;
    EXPECT_EQ((*first)->address(), *address);
    EXPECT_FALSE(Mapping::at_common_slot(SlotMap(words), memory->get(), kMappingAlignment, layout::make_uuid()));
}

TEST(SegmentMemory, CannotChangeItsSizeOrSeals) {
    const auto memory = make_segment_memory(kMappingAlignment);
    ASSERT_TRUE(memory);
    EXPECT_TRUE(check_segment_memory(memory->get(), kMappingAlignment));
    EXPECT_NE(::ftruncate(memory->get(), 0), 0);
    EXPECT_NE(::ftruncate(memory->get(), 2 * kMappingAlignment), 0);
    EXPECT_NE(::fcntl(memory->get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
}

TEST(SegmentMemory, OtherDescriptorsAreRefused) {
    const auto sealed = make_segment_memory(kMappingAlignment);
    EXPECT_EQ(check_segment_memory(sealed->get(), 2 * kMappingAlignment).error().status, VMRPC_POISONED);
    const base::Fd unsealed(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_EQ(::ftruncate(unsealed.get(), kMappingAlignment), 0);
    EXPECT_EQ(check_segment_memory(unsealed.get(), kMappingAlignment).error().status, VMRPC_POISONED);
    ASSERT_EQ(::fcntl(unsealed.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    EXPECT_EQ(check_segment_memory(unsealed.get(), kMappingAlignment).error().status, VMRPC_POISONED);
    const base::Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    EXPECT_EQ(check_segment_memory(null.get(), 0).error().status, VMRPC_POISONED);
    EXPECT_EQ(check_segment_memory(-1, 0).error().status, VMRPC_POISONED);
    std::string name = "/dev/shm/vmrpc-test-XXXXXX";
    const base::Fd file(::mkstemp(name.data()));
    ::unlink(name.c_str());
    EXPECT_EQ(check_segment_memory(file.get(), 0).error().status, VMRPC_POISONED);
}

}  // namespace
}  // namespace vmrpc::transport
