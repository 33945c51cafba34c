// The server at QEMU's end: the hand-shake, and whatever connects instead of a QEMU.
#include "transport/vm/vm.hpp"
#include "unit/ivshmem_fake_qemu.hpp"

#include <bit>
#include <cstdlib>

namespace vmrpc::transport::vm {
namespace {

TEST(IvshmemSession, HandShakeIsQemus) {
    const TestFolder folder;
    ServerEnd server;
    const auto listener = listen_at(folder, server);
    FakeQemu qemu(folder.socket());
    qemu.start();
    const std::vector<std::int64_t> expected{0, 1, -1, 0, 0, 1, 1, 1, 1, 1};
    for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(qemu.messages()[i].value, expected[i]) << i;
        EXPECT_EQ(qemu.messages()[i].descriptor.valid(), i >= 2) << i;
    }
    const auto header = layout::read_segment(qemu.base(), qemu.bytes());
    ASSERT_TRUE(header) << header.error().text;
    EXPECT_EQ(header->directory_entries, Ivshmem::kEntries);
    EXPECT_EQ(qemu.bytes(), Ivshmem::kDefaultSegmentBytes);
    EXPECT_TRUE(check_segment_memory(qemu.memory(), qemu.bytes()));
}

TEST(IvshmemSession, SegmentHasRoomForTheHeapThatWasAskedFor) {
    for (const std::uint64_t heap_bytes : {std::uint64_t{1}, 5 * kGiB / 4, 8 * kGiB}) {
        const std::uint64_t bytes = segment_bytes_for({.heap_bytes = heap_bytes});
        EXPECT_TRUE(std::has_single_bit(bytes));
        for (std::uint32_t i = 0; i < Ivshmem::kEntries; ++i) {
            const auto share = share_of_entry(bytes, Ivshmem::kEntries, i);
            const auto plan = layout::plan_region_within(share.offset, share.bytes,
                                                         {.lane_count = 64, .stack_bytes = Ivshmem::kStackBytes});
            ASSERT_TRUE(plan) << plan.error().text;
            EXPECT_GE(2 * plan->arena_bytes, heap_bytes);
            EXPECT_LE(share.end(), bytes);
        }
    }
}

TEST(IvshmemSession, EveryVmHasMemoryOfItsOwn) {
    const TestFolder folder;
    ServerEnd server;
    const auto listener = listen_at(folder, server);
    FakeQemu first(folder.socket());
    FakeQemu second(folder.socket());
    first.start();
    second.start();
    struct stat one {};
    struct stat other {};
    ASSERT_EQ(::fstat(first.memory(), &one), 0);
    ASSERT_EQ(::fstat(second.memory(), &other), 0);
    EXPECT_NE(one.st_ino, other.st_ino);
    first.claim(0);
    second.claim(0);
    ASSERT_TRUE(server.link(0) != nullptr && server.link(1) != nullptr);
    EXPECT_NE(server.link(0)->segment(), server.link(1)->segment());
    EXPECT_EQ(server.link(0)->peer().vm + server.link(1)->peer().vm, 3U);
}

TEST(IvshmemSession, WhoSendsSomethingIsDisconnected) {
    const TestFolder folder;
    ServerEnd server;
    const auto listener = listen_at(folder, server);
    FakeQemu qemu(folder.socket());
    qemu.start();
    qemu.claim(0);
    ASSERT_NE(server.link(), nullptr);
    testing::internal::CaptureStderr();
    ASSERT_EQ(::send(qemu.socket(), "x", 1, MSG_NOSIGNAL), 1);
    EXPECT_TRUE(qemu.is_let_go());
    EXPECT_TRUE(wait_until([&] { return server.losses() == 1; }));
    const std::string log = testing::internal::GetCapturedStderr();
    EXPECT_NE(log.find("sent something, as QEMU's ivshmem never does: disconnected"), std::string::npos) << log;
}

TEST(IvshmemSession, WhoNeverReadsIsDisconnectedAndDelaysNobody) {
    const TestFolder folder;
    ServerEnd server;
    const auto listener = listen_at(folder, server, {}, 0, 300'000'000);
    const int before = conformance::open_descriptors();
    FakeQemu silent(folder.socket());
    ASSERT_TRUE(wait_until([&] { return conformance::open_descriptors() > before + 4; }));
    FakeQemu qemu(folder.socket());
    qemu.start();
    qemu.claim(0);
    ASSERT_NE(server.link(), nullptr);
    for (int i = 0; i < 7; ++i) ::usleep(100'000);
    for (int i = 0; i < 7; ++i) static_cast<void>(silent.receive());
    EXPECT_TRUE(silent.is_let_go());
    EXPECT_EQ(server.losses(), 0);
}

TEST(IvshmemSession, EndOfQemuIsTheLossOfEveryLinkAndLeavesNothing) {
    const TestFolder folder;
    ServerEnd server;
    const auto listener = listen_at(folder, server);
    const int descriptors = conformance::open_descriptors();
    const int mappings = conformance::mapped_segments();
    {
        FakeQemu qemu(folder.socket());
        qemu.start();
        qemu.claim(1);
        qemu.claim(3);
        ASSERT_NE(server.link(1), nullptr);
    }
    EXPECT_TRUE(wait_until([&] { return server.losses(0) == 1 && server.losses(1) == 1; }));
    server.drop(0);
    server.drop(1);
    EXPECT_TRUE(wait_until([&] {
        return conformance::open_descriptors() == descriptors && conformance::mapped_segments() == mappings;
    })) << conformance::open_descriptors()
        << " " << descriptors;
}

TEST(IvshmemSession, EndOfTheListenerIsToldToWhoeverClaimsLater) {
    const TestFolder folder;
    ServerEnd server;
    auto listener = listen_at(folder, server);
    FakeQemu qemu(folder.socket());
    qemu.start();
    qemu.claim(2);
    ASSERT_NE(server.link(), nullptr);
    listener.reset();
    EXPECT_TRUE(qemu.is_let_go());
    for (std::uint32_t i = 0; i < Ivshmem::kEntries; ++i) {
        EXPECT_TRUE(qemu.becomes(i, layout::OfferState::kRefused));
        EXPECT_EQ(qemu.entry(i).offer.status.load_relaxed(), static_cast<std::uint32_t>(VMRPC_NO_SERVER));
    }
    // The link lives on, and its client sees the end when it goes.
    auto& control = conformance::control_of(*server.link());
    EXPECT_EQ(control.server.state.load_acquire(), static_cast<std::uint32_t>(layout::RegionState::kOpen));
    const auto* state = reinterpret_cast<const layout::ControlPage*>(qemu.base() + server.link()->plan().region_offset);
    server.drop();
    EXPECT_EQ(state->server.state.load_acquire(), static_cast<std::uint32_t>(layout::RegionState::kClosed));
}

TEST(IvshmemListen, AddressInUseAndTaken) {
    const TestFolder folder;
    ServerEnd server;
    const auto listener = listen_at(folder, server);
    const auto second = Ivshmem::listen({folder.socket(), {}, 0}, server);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().status, VMRPC_ADDRESS_IN_USE);
    EXPECT_NE(second.error().text.find("ivshmem:" + folder.socket()), std::string::npos) << second.error().text;
    FakeQemu qemu(folder.socket());
    qemu.start();  // the second server's look has done no harm
}

TEST(IvshmemListen, NeedsTheSentinel) {
    const TestFolder folder;
    ServerEnd server;
    const std::string before = std::getenv("VMRPC_SENTINEL") != nullptr ? std::getenv("VMRPC_SENTINEL") : "";
    ::setenv("VMRPC_SENTINEL", "/no/such/sentinel", 1);
    const auto listener = Ivshmem::listen({folder.socket(), {}, 0}, server);
    ::setenv("VMRPC_SENTINEL", before.c_str(), 1);
    ASSERT_FALSE(listener);
    EXPECT_EQ(listener.error().status, VMRPC_NOT_SUPPORTED);
    EXPECT_NE(listener.error().text.find("/no/such/sentinel"), std::string::npos);
}

}  // namespace
}  // namespace vmrpc::transport::vm
