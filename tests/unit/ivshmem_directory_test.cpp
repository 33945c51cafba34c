// The directory: claims as they should be, and every other kind.
#include "layout/stack_parts.hpp"
#include "transport/vm/vm.hpp"
#include "unit/ivshmem_fake_qemu.hpp"
#include "unit/system_setting.hpp"

#include <algorithm>
#include <random>

namespace vmrpc::transport::vm {
namespace {

using layout::ClaimState;
using layout::OfferState;

class IvshmemDirectory : public testing::Test {
  protected:
    void serve(const Wishes& most = {}, std::uint32_t max_connections = 0) {
        listener_ = listen_at(folder_, server_, most, max_connections);
        qemu_ = std::make_unique<FakeQemu>(folder_.socket());
        qemu_->start();
    }
    [[nodiscard]] std::uint32_t generation(std::uint32_t index) const {
        return qemu_->entry(index).offer.generation.load_relaxed();
    }
    void expect_refused(const std::function<void(layout::DirectoryClaim&)>& change, vmrpc_status status) {
        serve();
        qemu_->claim(0, change);
        ASSERT_TRUE(qemu_->becomes(0, OfferState::kRefused));
        EXPECT_EQ(qemu_->entry(0).offer.status.load_relaxed(), static_cast<std::uint32_t>(status));
        qemu_->say(0, ClaimState::kGone);
        EXPECT_TRUE(qemu_->becomes(0, OfferState::kFree));
        EXPECT_EQ(generation(0), 2U);
        expect_usable(0);
    }
    /// The entry can still be claimed, and others too.
    void expect_usable(std::uint32_t index) {
        qemu_->claim(index);
        EXPECT_TRUE(qemu_->becomes(index, OfferState::kOffered));
    }
    void expect_ignored(std::uint32_t index) {
        expect_usable(index + 1);  // one event later
        EXPECT_EQ(qemu_->state(index), OfferState::kFree);
        expect_usable(index);
    }

    TestFolder folder_;
    ServerEnd server_;
    std::unique_ptr<Listener> listener_;
    std::unique_ptr<FakeQemu> qemu_;
};

TEST_F(IvshmemDirectory, AClaimBecomesAConnection) {
    serve();
    qemu_->claim(2);
    ASSERT_TRUE(qemu_->becomes(2, OfferState::kOffered));
    const ServerLink* link = server_.link();
    ASSERT_NE(link, nullptr);
    const auto& offer = qemu_->entry(2).offer;
    const auto plan = layout::read_region(qemu_->base(), qemu_->bytes(), offer.region_offset.load_relaxed());
    ASSERT_TRUE(plan) << plan.error().text;
    EXPECT_EQ(std::memcmp(&*plan, &link->plan(), sizeof *plan), 0);
    EXPECT_EQ(plan->agreed_address, reinterpret_cast<std::uint64_t>(link->segment()));
    EXPECT_EQ(plan->flags, 0U);
    EXPECT_LE(plan->region_bytes, offer.region_bytes.load_relaxed());
    EXPECT_EQ(link->peer().vm, 1U);
    EXPECT_EQ(link->peer().pid, static_cast<std::uint32_t>(::getpid()));
}

TEST_F(IvshmemDirectory, RequestsRingTheLinksOwnDescriptor) {
    serve();
    qemu_->claim(0);
    ASSERT_NE(server_.link(), nullptr);
    const conformance::RingWatch watch(*server_.link());
    static_cast<void>(watch.rung_within(0));
    for (int i = 0; i < 3; ++i) {
        qemu_->ring(kRequestVector);
        EXPECT_TRUE(watch.rung_within(10'000));
        EXPECT_FALSE(watch.rung_within(0));
    }
    auto& rung = conformance::rung(*server_.link());
    const std::uint32_t before = rung.load_acquire();
    server_.link()->ring();
    EXPECT_NE(rung.load_acquire(), before);
}

TEST_F(IvshmemDirectory, AnotherAddressIsAcceptedAndToldApart) {
    serve();
    qemu_->claim(0, [](auto& claim) { claim.address.store_relaxed(0x7000'0000'0000); });
    ASSERT_NE(server_.link(), nullptr);
    EXPECT_EQ(server_.link()->plan().agreed_address, 0U);
    EXPECT_EQ(server_.link()->peer_segment_address(), 0x7000'0000'0000U);
}

TEST_F(IvshmemDirectory, TrustNeedsBothSides) {
    serve({.trust_peer = true});
    qemu_->claim(0);
    qemu_->claim(1, [](auto& claim) { claim.flags.store_relaxed(kClaimTrustsServer); });
    ASSERT_NE(server_.link(1), nullptr);
    EXPECT_EQ(server_.link(0)->plan().flags, 0U);
    EXPECT_EQ(server_.link(1)->plan().flags, layout::kRegionTrusted);
}

TEST_F(IvshmemDirectory, AnImpossibleGenerationIsIgnored) {
    serve();
    qemu_->claim(0, [](auto& claim) { claim.generation.store_relaxed(0xffff'ffff); });
    expect_ignored(0);
}

TEST_F(IvshmemDirectory, AnImpossibleStateIsIgnored) {
    serve();
    qemu_->claim(0, [](auto&) {});
    ASSERT_TRUE(qemu_->becomes(0, OfferState::kOffered));
    qemu_->say(1, static_cast<ClaimState>(0xdead'beef));
    expect_ignored(1);
}

TEST_F(IvshmemDirectory, UnknownFlagsAreRefused) {
    expect_refused([](auto& claim) { claim.flags.store_relaxed(0x8000'0000); }, VMRPC_NOT_SUPPORTED);
}

TEST_F(IvshmemDirectory, AnImpossiblePageSizeIsRefused) {
    expect_refused([](auto& claim) { claim.page_bytes.store_relaxed(5000); }, VMRPC_NOT_SUPPORTED);
}

TEST_F(IvshmemDirectory, NoAddressIsRefused) {
    expect_refused([](auto& claim) { claim.address.store_relaxed(0); }, VMRPC_BAD_ARGUMENT);
}

TEST_F(IvshmemDirectory, AnUnalignedAddressIsRefused) {
    expect_refused([](auto& claim) { claim.address.store_relaxed(0x7000'0000'0001); }, VMRPC_BAD_ARGUMENT);
}

TEST_F(IvshmemDirectory, AnAddressWhoseEndOverflowsIsRefused) {
    expect_refused([](auto& claim) { claim.address.store_relaxed(~std::uint64_t{0xfff}); }, VMRPC_BAD_ARGUMENT);
}

TEST_F(IvshmemDirectory, RubbishInAClaimThatIsOpenEndsTheConnection) {
    serve();
    qemu_->claim(0);
    ASSERT_NE(server_.link(), nullptr);
    qemu_->say(0, static_cast<ClaimState>(77));
    EXPECT_TRUE(wait_until([&] { return server_.losses() == 1; }));
}

TEST_F(IvshmemDirectory, AnEntryIsFreeAgainWhenBothSidesAreGone) {
    serve();
    qemu_->claim(0);
    ASSERT_NE(server_.link(), nullptr);
    qemu_->say(0, ClaimState::kMapped);
    qemu_->say(0, ClaimState::kGone);
    EXPECT_TRUE(wait_until([&] { return server_.losses() == 1; }));
    EXPECT_TRUE(qemu_->becomes(0, OfferState::kDraining));
    EXPECT_EQ(generation(0), 1U);
    server_.drop();
    EXPECT_TRUE(qemu_->becomes(0, OfferState::kFree));
    EXPECT_EQ(generation(0), 2U);
}

TEST_F(IvshmemDirectory, ARegionIsNotGivenAwayWhileItsClientHasIt) {
    serve();
    qemu_->claim(0);
    ASSERT_NE(server_.link(), nullptr);
    server_.drop();  // the server has dismissed it
    EXPECT_TRUE(qemu_->becomes(0, OfferState::kDraining));
    expect_usable(1);
    EXPECT_EQ(qemu_->state(0), OfferState::kDraining);
    qemu_->say(0, ClaimState::kGone);
    EXPECT_TRUE(qemu_->becomes(0, OfferState::kFree));
    EXPECT_EQ(server_.losses(), 0);
}

TEST_F(IvshmemDirectory, PagesOfThePoolAreClearedAndKept) {
    const Wishes most{
        .heap_bytes = 1, .trust_peer = true, .borrow_stack = true, .huge_pages = VMRPC_HUGE_PAGES_HUGETLB};
    const test::PoolPages pool(segment_bytes_for(most) / kHugePageBytes);
    if (!pool.are_there()) GTEST_SKIP() << "the pool has too few free huge pages, and cannot be raised";
    const std::uint64_t before = test::free_pool_pages();
    serve(most);
    EXPECT_TRUE(is_hugetlb(qemu_->memory()));
    EXPECT_EQ(test::free_pool_pages(), before - segment_bytes_for(most) / kHugePageBytes);
    const auto claim = [&](std::size_t number) {
        qemu_->claim(0, [](layout::DirectoryClaim& it) { it.flags.store_relaxed(kClaimTrustsServer); });
        return server_.link(number);
    };
    ASSERT_NE(claim(0), nullptr);
    const layout::RegionPlan plan = server_.link()->plan();
    EXPECT_EQ(plan.flags, layout::kRegionHugetlb | layout::kRegionTrusted) << "no stack there can be borrowed";
    EXPECT_EQ(plan.stack_bytes, layout::kFramesOnlyStackBytes);
    std::byte* arenas = qemu_->base() + plan.arenas_offset;
    std::memset(arenas, 0x5a, 2 * plan.arena_bytes);
    const layout::Extent range{plan.arenas_offset, 2 * plan.arena_bytes};
    EXPECT_TRUE(server_.link()->pages()->give_back(range, heap::Pages::Wait::kYes));
    EXPECT_EQ(arenas[0], std::byte{0x5a}) << "nothing is given back";
    qemu_->say(0, ClaimState::kGone);
    ASSERT_TRUE(wait_until([&] { return server_.losses() == 1; }));
    server_.drop();
    ASSERT_TRUE(qemu_->becomes(0, OfferState::kFree));
    ASSERT_NE(claim(1), nullptr);
    EXPECT_TRUE(std::all_of(arenas, arenas + range.bytes, [](std::byte byte) { return byte == std::byte{0}; }));
    EXPECT_EQ(test::free_pool_pages(), before - segment_bytes_for(most) / kHugePageBytes) << "no page was let go";
    server_.drop(1);
    listener_.reset();
    qemu_.reset();
    EXPECT_TRUE(wait_until([&] { return test::free_pool_pages() == before; }));
}

TEST_F(IvshmemDirectory, AVmIsLetGoIfThePoolHasTooFewPages) {
    listener_ = listen_at(folder_, server_, {.heap_bytes = 256 * kGiB, .huge_pages = VMRPC_HUGE_PAGES_HUGETLB});
    testing::internal::CaptureStderr();
    const FakeQemu qemu(folder_.socket());
    EXPECT_EQ(qemu.receive().value, kProtocolVersion);
    EXPECT_EQ(qemu.receive().value, kVmPeer);
    EXPECT_TRUE(qemu.is_let_go());
    listener_.reset();
    const std::string log = testing::internal::GetCapturedStderr();
    EXPECT_NE(log.find("raise vm.nr_hugepages"), std::string::npos) << log;
}

TEST_F(IvshmemDirectory, MemoryIsZeroBeforeItIsOfferedAgain) {
    serve();
    qemu_->claim(0);
    ASSERT_NE(server_.link(), nullptr);
    const layout::RegionPlan plan = server_.link()->plan();
    std::byte* arenas = qemu_->base() + plan.arenas_offset;
    std::memset(arenas, 0x5a, 4 << 20);
    qemu_->say(0, ClaimState::kGone);
    ASSERT_TRUE(wait_until([&] { return server_.losses() == 1; }));
    server_.drop();
    ASSERT_TRUE(qemu_->becomes(0, OfferState::kFree));
    std::memset(arenas, 0x77, 4 << 20);  // another process of the guest scribbles on what is nobody's
    qemu_->claim(0);
    ASSERT_TRUE(qemu_->becomes(0, OfferState::kOffered));
    EXPECT_TRUE(std::all_of(arenas, arenas + (4 << 20), [](std::byte byte) { return byte == std::byte{0}; }));
}

TEST_F(IvshmemDirectory, AClaimGivenUpBeforeItsAnswerFreesTheEntry) {
    serve();
    auto& [offer, claim] = qemu_->entry(0);
    claim.generation.store_relaxed(offer.generation.load_relaxed());
    qemu_->say(0, ClaimState::kGone);
    EXPECT_TRUE(wait_until([&] { return generation(0) == 2U; }));
    expect_usable(0);
}

TEST_F(IvshmemDirectory, MoreThanTheServerTakesAreRefused) {
    serve({}, 2);
    for (std::uint32_t i = 0; i < 2; ++i) expect_usable(i);
    qemu_->claim(2);
    EXPECT_TRUE(qemu_->becomes(2, OfferState::kRefused));
    EXPECT_EQ(qemu_->entry(2).offer.status.load_relaxed(), static_cast<std::uint32_t>(VMRPC_OUT_OF_RESOURCES));
}

TEST_F(IvshmemDirectory, HeapAndLanesAreAtMostTheServers) {
    serve({.heap_bytes = 8 << 20, .lane_count = 3});
    qemu_->claim(0);
    ASSERT_NE(server_.link(), nullptr);
    EXPECT_EQ(server_.link()->plan().arena_bytes, 4U << 20);
    EXPECT_EQ(server_.link()->plan().lane_count, 3U);
}

TEST_F(IvshmemDirectory, TheSmallerWishWins) {
    serve({.heap_bytes = 64 << 20, .lane_count = 8});
    const auto wish = [](std::uint64_t heap_bytes, std::uint32_t lane_count) {
        return [=](layout::DirectoryClaim& claim) {
            claim.heap_bytes.store_relaxed(heap_bytes);
            claim.lane_count.store_relaxed(lane_count);
        };
    };
    qemu_->claim(0, wish(16 << 20, 4));
    ASSERT_NE(server_.link(0), nullptr);
    EXPECT_EQ(server_.link(0)->plan().arena_bytes, 8U << 20);
    EXPECT_EQ(server_.link(0)->plan().lane_count, 4U);
    qemu_->claim(1, wish(~std::uint64_t{0}, ~0U));
    ASSERT_NE(server_.link(1), nullptr);
    EXPECT_EQ(server_.link(1)->plan().arena_bytes, 32U << 20);
    EXPECT_EQ(server_.link(1)->plan().lane_count, 8U);
    qemu_->claim(2, wish(1, 1));
    ASSERT_NE(server_.link(2), nullptr);
    EXPECT_EQ(server_.link(2)->plan().arena_bytes, layout::kMinArenaBytes);
    EXPECT_EQ(server_.link(2)->plan().lane_count, 1U);
}

// Whatever is written to the whole directory, the server lives, and the VM after this one is served.
TEST_F(IvshmemDirectory, RandomDirectoriesHarmNobodyElse) {
    serve();
    std::mt19937 random(1);  // NOLINT(cert-msc51-cpp): the same in each run
    for (int round = 0; round < 300; ++round) {
        const auto any = [&random] { return static_cast<std::uint32_t>(random()); };
        for (std::uint32_t i = 0; i < Ivshmem::kEntries; ++i) {
            auto* words = reinterpret_cast<std::uint32_t*>(&qemu_->entry(i));
            for (std::size_t word = 0; word < 32; ++word)
                if (any() % 2 == 0) words[word] = any() % 3 == 0 ? any() : any() % 5;
        }
        qemu_->ring(kDirectoryVector);
    }
    FakeQemu other(folder_.socket());
    other.start();
    other.claim(0);
    EXPECT_TRUE(other.becomes(0, OfferState::kOffered));
}

}  // namespace
}  // namespace vmrpc::transport::vm
