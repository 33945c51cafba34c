// Who may send how much over a VsockBackend's streams.
#include "unit/vsock_fake_qemu.hpp"

namespace vmrpc::transport::vm::vsock {
namespace {

TEST_F(VsockStream, SlowConsumerStopsTheGuest) {
    vm.events.holds_back = true;
    const StreamId stream = vm.open(kPorts);
    const std::string piece(kReceiveBytes / 2, 'x');
    vm.send(VIRTIO_VSOCK_OP_RW, kPorts, piece);
    vm.send(VIRTIO_VSOCK_OP_RW, kPorts, piece);
    EXPECT_TRUE(vm.events.comes(stream, piece + piece));
    vm.send(VIRTIO_VSOCK_OP_CREDIT_REQUEST, kPorts);
    const Packet before = vm.take_packet();
    EXPECT_EQ(before.header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    EXPECT_EQ(before.header.buf_alloc, kReceiveBytes);
    EXPECT_EQ(before.header.fwd_cnt, 0U);
    vm.backend().consumed(stream, 100);  // the guest is short of room, so it is told
    const Packet after = vm.take_packet();
    EXPECT_EQ(after.header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    EXPECT_EQ(after.header.fwd_cnt, 100U);
    vm.send(VIRTIO_VSOCK_OP_RW, kPorts, std::string(100, 'y'));
    EXPECT_TRUE(vm.events.comes(stream, piece + piece + std::string(100, 'y')));
}

TEST_F(VsockStream, GuestThatSendsMoreThanItMayLosesTheStream) {
    vm.events.holds_back = true;
    const StreamId stream = vm.open(kPorts);
    vm.send(VIRTIO_VSOCK_OP_RW, kPorts, std::string(kReceiveBytes, 'x'));
    vm.send(VIRTIO_VSOCK_OP_RW, kPorts, "y");
    vm.expect_packet(VIRTIO_VSOCK_OP_RST, kPorts);
    EXPECT_TRUE(vm.events.is_told_of_end(stream));
    EXPECT_EQ(vm.events.text(stream).size(), kReceiveBytes);
    vm.open({.guest = 5001, .host = 1024});
}

TEST_F(VsockStream, SlowGuestIsNotOverrunAndItsSenderIsTold) {
    vm.room = 100;
    const StreamId stream = vm.open(kPorts);
    const std::string text(kSendBytes / 4, 'x');
    std::size_t sent = 0;
    base::Status status;
    while ((status = vm.backend().send(stream, bytes_of_text(text)))) sent += text.size();
    EXPECT_EQ(status.error().status, VMRPC_BUSY);
    EXPECT_EQ(vm.take_packet().data.size(), 100U);
    vm.expect_packet(VIRTIO_VSOCK_OP_CREDIT_REQUEST, kPorts);
    EXPECT_EQ(vm.events.sendable_count(stream), 0);
    EXPECT_FALSE(vm.has_packet());
    vm.room = 64 * 1024;
    vm.taken_bytes = 100;
    vm.send(VIRTIO_VSOCK_OP_CREDIT_UPDATE, kPorts);
    std::size_t received = 100;
    while (received < sent) received += vm.take_packet().data.size();
    EXPECT_EQ(received, sent);
    EXPECT_TRUE(wait_until([&] { return vm.events.sendable_count(stream) == 1; }));
    EXPECT_EQ(vm.backend().send(stream, bytes_of_text(std::string(kSendBytes + 1, 'x'))).error().status,
              VMRPC_BAD_ARGUMENT);
}

TEST_F(VsockStream, GuestThatTakesNothingIsToldOfItsOwnCredit) {
    vm.room = 0;
    const StreamId stream = vm.open(kPorts);
    EXPECT_TRUE(vm.backend().send(stream, bytes_of_text("waits")));
    vm.expect_packet(VIRTIO_VSOCK_OP_CREDIT_REQUEST, kPorts);
    const std::string text(kReceiveBytes / 2 + 1, 'x');
    vm.send(VIRTIO_VSOCK_OP_RW, kPorts, text);
    const Packet packet = vm.take_packet();
    EXPECT_EQ(packet.header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    EXPECT_EQ(packet.header.fwd_cnt, text.size());
}

TEST_F(VsockStream, CreditOfAGuestThatLiesIsNone) {
    const StreamId stream = vm.open(kPorts);
    vm.taken_bytes = 1'000'000;  // of 0 that it was sent
    vm.send(VIRTIO_VSOCK_OP_RW, kPorts, "x");
    EXPECT_TRUE(vm.events.comes(stream, "x"));
    EXPECT_TRUE(vm.backend().send(stream, bytes_of_text("y")));
    vm.expect_packet(VIRTIO_VSOCK_OP_CREDIT_REQUEST, kPorts);
}

TEST_F(VsockStream, WhatFindsNoRoomInTheRingGoesOutLater) {
    const StreamId stream = vm.open(kPorts);
    // Room for 8 packets is there again; none is made for those that are sent now.
    for (int i = 0; i < 20; ++i) EXPECT_TRUE(vm.backend().send(stream, bytes_of_text(std::to_string(i) + " ")));
    std::string text;
    std::string expected;
    for (int i = 0; i < 20; ++i) expected += std::to_string(i) + " ";
    while (text.size() < expected.size()) text += vm.take_packet().data;
    EXPECT_EQ(text, expected);
}

}  // namespace
}  // namespace vmrpc::transport::vm::vsock
