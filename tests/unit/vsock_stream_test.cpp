// Streams over a VsockBackend, with a QEMU and a driver that keep to the rules.
#include "unit/vsock_fake_qemu.hpp"

#include <thread>

namespace vmrpc::transport::vm::vsock {
namespace {

TEST(VsockHandShake, IsQemus) {
    FakeVm vm;
    vm.request(Request::kGetFeatures);
    EXPECT_EQ(vm.reply<std::uint64_t>(Request::kGetFeatures), (1ULL << 32) | (1ULL << 30));
    vm.request(Request::kGetProtocolFeatures);
    EXPECT_EQ(vm.reply<std::uint64_t>(Request::kGetProtocolFeatures), (1ULL << 0) | (1ULL << 3) | (1ULL << 9));
    vm.request(Request::kSetProtocolFeatures, kProtocolFeatures);
    vm.request(Request::kGetRingCount);
    EXPECT_EQ(vm.reply<std::uint64_t>(Request::kGetRingCount), 3U);
    vm.request(Request::kSetOwner);
    struct Config {
        ConfigRange range{.offset = 0, .bytes = 8, .flags = 0};
        std::uint32_t cid[2] = {};
    };
    vm.request(Request::kGetConfig, Config{});
    const auto config = vm.reply<Config>(Request::kGetConfig);
    EXPECT_EQ(config.range.bytes, 8U);
    EXPECT_EQ(config.cid[0], kCid);
    EXPECT_EQ(config.cid[1], 0U);
    vm.request(Request::kSetMemoryTable, FakeVm::memory_table({vm.memory.region()}), {vm.memory.file()},
               kVersion | kNeedsReply);
    EXPECT_EQ(vm.reply<std::uint64_t>(Request::kSetMemoryTable), 0U);
    EXPECT_EQ(vm.events.ends, 0);
}

TEST(VsockHandShake, MessagesMayComeInPieces) {
    FakeVm vm;
    const auto table = FakeVm::message(Request::kSetMemoryTable, FakeVm::memory_table({vm.memory.region()}));
    for (std::size_t i = 0; i < table.size(); ++i) {
        vm.send_raw(std::span(table).subspan(i, 1), i == 0 ? std::vector<int>{vm.memory.file()} : std::vector<int>{});
        if (i % 16 == 0) ::usleep(1000);
    }
    vm.request(Request::kSetFeatures, kFeatures);
    vm.set_ring(kToGuest);
    vm.set_ring(kFromGuest);
    vm.enable(true);
    vm.make_room(4);
    vm.open(kPorts);
}

TEST(VsockHandShake, OldQemusEnableNoRings) {
    FakeVm vm;
    vm.request(Request::kSetFeatures, kVersion1);
    vm.set_memory();
    vm.set_ring(kToGuest);
    vm.set_ring(kFromGuest);
    vm.make_room(4);
    vm.open(kPorts);
}

TEST_F(VsockStream, OpensAndCarriesBytesBothWays) {
    const StreamId stream = vm.open(kPorts);
    EXPECT_EQ(vm.events.ports(stream), kPorts);
    vm.send(VIRTIO_VSOCK_OP_RW, kPorts, "ring");
    EXPECT_TRUE(vm.events.comes(stream, "ring"));
    EXPECT_TRUE(vm.backend().send(stream, bytes_of_text("rung")));
    const Packet packet = vm.take_packet();
    EXPECT_EQ(packet.header.op, VIRTIO_VSOCK_OP_RW);
    EXPECT_EQ(packet.data, "rung");
    EXPECT_EQ(packet.header.fwd_cnt, 4U);
    EXPECT_GT(vm.ring(kToGuest).interrupts(), 0U);
    EXPECT_TRUE(wait_until([&] { return vm.ring(kFromGuest).used() == 2; }));
}

TEST_F(VsockStream, GuestIsNotInterruptedAgainstItsWish) {
    const StreamId stream = vm.open(kPorts);
    static_cast<void>(vm.ring(kToGuest).interrupts());
    vm.ring(kToGuest).refuse_interrupts();
    EXPECT_TRUE(vm.backend().send(stream, bytes_of_text("x")));
    EXPECT_EQ(vm.take_packet().data, "x");
    EXPECT_EQ(vm.ring(kToGuest).interrupts(), 0U);
}

TEST_F(VsockStream, HeaderAndDataMayBeCutAnywhere) {
    const StreamId stream = vm.open(kPorts);
    std::string expected;
    for (const std::uint32_t first : {0U, 1U, 20U, 43U, 44U, 46U, 100U}) {
        virtio_vsock_hdr header = vm.header(VIRTIO_VSOCK_OP_RW, kPorts);
        header.len = 4;
        vm.send(header, "data", first);
        expected += "data";
        EXPECT_TRUE(vm.events.comes(stream, expected)) << first;
    }
}

TEST_F(VsockStream, RefusedOneIsReset) {
    vm.events.refuses = true;
    vm.send(VIRTIO_VSOCK_OP_REQUEST, kPorts);
    vm.expect_packet(VIRTIO_VSOCK_OP_RST, kPorts);
    EXPECT_EQ(vm.backend().send(vm.events.stream(), bytes_of_text("x")).error().status, VMRPC_PEER_LOST);
    EXPECT_EQ(vm.events.closed_count(vm.events.stream()), 0);
}

TEST_F(VsockStream, OneTooManyIsResetAndOthersStay) {
    for (std::uint32_t i = 0; i < kMaxStreams; ++i) vm.open({.guest = 1000 + i, .host = 1024});
    vm.send(VIRTIO_VSOCK_OP_REQUEST, {.guest = 2000, .host = 1024});
    vm.expect_packet(VIRTIO_VSOCK_OP_RST, {.guest = 2000, .host = 1024});
    EXPECT_EQ(vm.events.opened_count(), kMaxStreams);
    vm.send(VIRTIO_VSOCK_OP_RW, {.guest = 1063, .host = 1024}, "last");
    EXPECT_TRUE(vm.events.comes(vm.events.stream(63), "last"));
    vm.send(VIRTIO_VSOCK_OP_RST, {.guest = 1000, .host = 1024});
    EXPECT_TRUE(vm.events.is_told_of_end(vm.events.stream(0)));
    const StreamId again = vm.open({.guest = 2000, .host = 1024});
    EXPECT_NE(again, vm.events.stream(0));
}

TEST_F(VsockStream, EndOfTheProcessIsToldAndAnswered) {
    const StreamId stream = vm.open(kPorts);
    vm.send(VIRTIO_VSOCK_OP_RW, kPorts, "last words");
    virtio_vsock_hdr header = vm.header(VIRTIO_VSOCK_OP_SHUTDOWN, kPorts);
    header.flags = 3;
    vm.send(header);
    vm.expect_packet(VIRTIO_VSOCK_OP_RST, kPorts);
    EXPECT_TRUE(vm.events.is_told_of_end(stream));
    EXPECT_EQ(vm.events.text(stream), "last words");
    EXPECT_EQ(vm.backend().send(stream, bytes_of_text("x")).error().status, VMRPC_PEER_LOST);
}

TEST_F(VsockStream, CloseSendsWhatWaitsThenTheEnd) {
    const StreamId stream = vm.open(kPorts);
    EXPECT_TRUE(vm.backend().send(stream, bytes_of_text("one")));
    EXPECT_TRUE(vm.backend().send(stream, bytes_of_text("two")));
    vm.backend().close(stream);
    EXPECT_EQ(vm.backend().send(stream, bytes_of_text("x")).error().status, VMRPC_PEER_LOST);
    EXPECT_EQ(vm.take_packet().data, "one");
    EXPECT_EQ(vm.take_packet().data, "two");
    const Packet end = vm.take_packet();
    EXPECT_EQ(end.header.op, VIRTIO_VSOCK_OP_SHUTDOWN);
    EXPECT_EQ(end.header.flags, 3U);
    vm.send(VIRTIO_VSOCK_OP_RST, kPorts);
    vm.open({.guest = 5001, .host = 1024});  // the reset was handled before
    EXPECT_EQ(vm.events.closed_count(stream), 0);
}

TEST_F(VsockStream, AnyThreadMaySend) {
    constexpr int kThreads = 4;
    constexpr int kRoundsEach = 200;
    vm.room = 1024 * 1024;
    std::vector<StreamId> streams;
    for (std::uint32_t i = 0; i < kThreads; ++i) streams.push_back(vm.open({.guest = 100 + i, .host = 1024}));
    std::vector<std::thread> threads;
    for (const StreamId stream : streams) {
        threads.emplace_back([this, stream] {
            for (int i = 0; i < kRoundsEach; ++i) EXPECT_TRUE(vm.backend().send(stream, bytes_of_text("0123456789")));
        });
    }
    std::map<std::uint32_t, std::string> texts;
    std::size_t bytes = 0;
    while (bytes < kThreads * kRoundsEach * 10) {
        const Packet packet = vm.take_packet();
        ASSERT_EQ(packet.header.op, VIRTIO_VSOCK_OP_RW);
        texts[packet.header.dst_port] += packet.data;
        bytes += packet.data.size();
    }
    for (auto& thread : threads) thread.join();
    for (const auto& [port, text] : texts) {
        ASSERT_EQ(text.size(), kRoundsEach * 10U) << port;
        for (std::size_t i = 0; i < text.size(); ++i) ASSERT_EQ(text[i], static_cast<char>('0' + i % 10)) << i;
    }
}

// The ring is never empty, so that the driver is not asked to kick: what a round leaves behind is taken all the same.
TEST_F(VsockStream, MoreThanARoundTakesComesWithoutKicks) {
    const StreamId stream = vm.open(kPorts);
    vm.events.is_slow = true;
    std::string expected;
    for (int i = 0; i < 200; ++i) {
        vm.send(VIRTIO_VSOCK_OP_RW, kPorts, std::to_string(i) + " ");
        expected += std::to_string(i) + " ";
    }
    EXPECT_TRUE(vm.events.comes(stream, expected));
}

TEST_F(VsockStream, UnknownOnesAreResetAndForeignPacketsIgnored) {
    vm.send(VIRTIO_VSOCK_OP_RW, kPorts, "nobody listens");
    vm.expect_packet(VIRTIO_VSOCK_OP_RST, kPorts);
    virtio_vsock_hdr header = vm.header(VIRTIO_VSOCK_OP_REQUEST, kPorts);
    header.type = VIRTIO_VSOCK_TYPE_SEQPACKET;
    vm.send(header);
    const Packet reset = vm.take_packet();
    EXPECT_EQ(reset.header.op, VIRTIO_VSOCK_OP_RST);
    EXPECT_EQ(reset.header.type, VIRTIO_VSOCK_TYPE_SEQPACKET);
    header = vm.header(VIRTIO_VSOCK_OP_REQUEST, kPorts);
    header.src_cid = kCid + 1;
    vm.send(header);
    header = vm.header(VIRTIO_VSOCK_OP_REQUEST, kPorts);
    header.dst_cid = 3;
    vm.send(header);
    vm.send(VIRTIO_VSOCK_OP_RST, kPorts);
    const StreamId stream = vm.open(kPorts);
    EXPECT_EQ(vm.events.opened_count(), 1U);
    header = vm.header(VIRTIO_VSOCK_OP_RW, kPorts);
    header.op = 99;
    vm.send(header);
    vm.expect_packet(VIRTIO_VSOCK_OP_RST, kPorts);
    EXPECT_TRUE(vm.events.is_told_of_end(stream));
}

TEST_F(VsockStream, ARequestForOneThatIsOpenEndsIt) {
    const StreamId stream = vm.open(kPorts);
    vm.send(VIRTIO_VSOCK_OP_REQUEST, kPorts);
    vm.expect_packet(VIRTIO_VSOCK_OP_RST, kPorts);
    EXPECT_TRUE(vm.events.is_told_of_end(stream));
    vm.open(kPorts);
}

TEST_F(VsockStream, GuestThatTakesNoResetsIsNotHeardAnyMore) {
    vm.make_room(8);  // the ring is full, and stays so
    for (std::uint32_t i = 0; i < 80; ++i) vm.send(VIRTIO_VSOCK_OP_RW, {.guest = i, .host = 1}, "x");
    EXPECT_TRUE(wait_until([&] { return vm.ring(kFromGuest).used() == 80; }));  // 16 went out, 64 wait
    vm.send(VIRTIO_VSOCK_OP_RW, {.guest = 80, .host = 1}, "x");
    vm.ring(kFromGuest).kick();
    ::usleep(20'000);
    EXPECT_EQ(vm.ring(kFromGuest).used(), 80);
    for (std::uint32_t i = 0; i <= 80; ++i) vm.expect_packet(VIRTIO_VSOCK_OP_RST, {.guest = i, .host = 1});
}

TEST_F(VsockStream, PausedVmKeepsItsStreams) {
    const StreamId stream = vm.open(kPorts);
    vm.enable(false);
    const std::uint32_t in = vm.stop_ring(kToGuest);
    const std::uint32_t out = vm.stop_ring(kFromGuest);
    EXPECT_EQ(out, 1U);
    EXPECT_EQ(in, 1U);
    EXPECT_TRUE(vm.backend().send(stream, bytes_of_text("meanwhile")));
    vm.send(VIRTIO_VSOCK_OP_RW, kPorts, "queued");
    vm.settle();
    EXPECT_EQ(vm.ring(kFromGuest).used(), 1);
    vm.set_memory();
    vm.set_ring(kToGuest, in);
    vm.set_ring(kFromGuest, out);
    vm.settle();
    ::usleep(20'000);  // the kicks of before are forgotten by now
    vm.enable(true);
    EXPECT_EQ(vm.take_packet().data, "meanwhile");
    EXPECT_TRUE(vm.events.comes(stream, "queued"));
    EXPECT_EQ(vm.events.closed_count(stream), 0);
}

TEST_F(VsockStream, RestartedGuestHasLostItsStreams) {
    const StreamId stream = vm.open(kPorts);
    static_cast<void>(vm.stop_ring(kToGuest));
    static_cast<void>(vm.stop_ring(kFromGuest));
    vm.restart_driver();
    vm.set_ring(kToGuest);
    vm.set_ring(kFromGuest);
    EXPECT_TRUE(vm.events.is_told_of_end(stream));
    vm.make_room(8);
    EXPECT_NE(vm.open(kPorts), stream);
}

TEST_F(VsockStream, MemoryMayBePluggedInWhileRingsRun) {
    const StreamId stream = vm.open(kPorts);
    const FakeMemory more(kMemoryBytes);
    MemoryRegion region = more.region();
    region.guest_address += kMemoryBytes;
    region.user_address += kMemoryBytes;
    vm.request(Request::kSetMemoryTable, FakeVm::memory_table({vm.memory.region(), region}),
               {vm.memory.file(), more.file()});
    vm.settle();
    vm.send(VIRTIO_VSOCK_OP_RW, kPorts, "still there");
    EXPECT_TRUE(vm.events.comes(stream, "still there"));
    EXPECT_TRUE(vm.backend().send(stream, bytes_of_text("x")));
    EXPECT_EQ(vm.take_packet().data, "x");
}

TEST_F(VsockStream, EndOfQemuIsTheEndOfItsStreams) {
    const StreamId one = vm.open(kPorts);
    const StreamId other = vm.open({.guest = 5001, .host = 1024});
    vm.hang_up();
    EXPECT_TRUE(vm.is_disconnected());
    EXPECT_EQ(vm.events.closed_count(one), 1);
    EXPECT_EQ(vm.events.closed_count(other), 1);
    EXPECT_EQ(vm.backend().send(one, bytes_of_text("x")).error().status, VMRPC_PEER_LOST);
    vm.backend().close(one);
    vm.backend().consumed(other, 1);
}

TEST_F(VsockStream, NothingIsToldAfterStop) {
    const StreamId stream = vm.open(kPorts);
    const int descriptors = conformance::open_descriptors();
    vm.backend().stop();
    EXPECT_EQ(vm.backend().send(stream, bytes_of_text("x")).error().status, VMRPC_PEER_LOST);
    vm.send(VIRTIO_VSOCK_OP_RW, kPorts, "x");
    vm.ring(kFromGuest).kick();
    EXPECT_LT(conformance::open_descriptors(), descriptors);
    ::usleep(10'000);
    EXPECT_EQ(vm.events.text(stream), "");
    EXPECT_EQ(vm.events.closed_count(stream) + vm.events.ends, 0);
}

TEST_F(VsockStream, EventsMayStop) {
    vm.open(kPorts);
    vm.events.set_on_opened([this] { vm.backend().stop(); });
    vm.send(VIRTIO_VSOCK_OP_REQUEST, {.guest = 5001, .host = 1024});
    EXPECT_TRUE(vm.is_hung_up());
    EXPECT_NE(vm.events.stream(1), vm.events.stream(0));  // it has returned
    EXPECT_EQ(vm.events.closed_count(vm.events.stream()) + vm.events.ends, 0);
}

TEST_F(VsockStream, EventsMayDropTheBackend) {
    vm.events.set_on_opened([this] { vm.drop_backend(); });
    vm.send(VIRTIO_VSOCK_OP_REQUEST, kPorts);
    EXPECT_TRUE(vm.is_hung_up());
    EXPECT_NE(vm.events.stream(), StreamId{});
    EXPECT_EQ(vm.events.ends, 0);
}

TEST(VsockLife, NoGuestHasTheCidsOfOthers) {
    for (const std::uint64_t cid : {0ULL, 1ULL, 2ULL, 0xffff'ffffULL, 1ULL << 32}) {
        Recorder events;
        const auto backend = std::make_shared<VsockBackend>(*make_socket(SOCK_STREAM), cid, events);
        EXPECT_EQ(backend->start().error().status, VMRPC_BAD_ARGUMENT) << cid;
    }
}

}  // namespace
}  // namespace vmrpc::transport::vm::vsock
