// A guest that breaks the rules of virtqueues.
#include "unit/vsock_hostile.hpp"

#include <random>
#include <thread>

namespace vmrpc::transport::vm::vsock {
namespace {

struct RingCase {
    const char* name;
    const char* text;  // in the log
    void (*spoil)(FakeVm& vm);
};

Descriptor good_buffer(std::uint32_t bytes) {
    return {kGuestBase + FakeVm::kOutBuffers, bytes, 0, 0};
}

void offer(FakeVm& vm, const Descriptor& descriptor) {
    vm.ring(kFromGuest).describe(0, descriptor);
    vm.ring(kFromGuest).offer(0);
}

const RingCase kRingCases[] = {
    {"loop of one", "or a loop",
     [](FakeVm& vm) {
         offer(vm, {kGuestBase + FakeVm::kOutBuffers, 44, 1, 0});
     }},
    {"loop of two", "a chain of more than 16 descriptors",
     [](FakeVm& vm) {
         vm.ring(kFromGuest).describe(1, {kGuestBase + FakeVm::kOutBuffers, 8, 1, 0});
         offer(vm, {kGuestBase + FakeVm::kOutBuffers, 44, 1, 1});
     }},
    {"next outside", "descriptor 16 in a ring of 16",
     [](FakeVm& vm) {
         offer(vm, {kGuestBase + FakeVm::kOutBuffers, 44, 1, 16});
     }},
    {"head outside", "descriptor 65535 in a ring of 16", [](FakeVm& vm) { vm.ring(kFromGuest).offer(0xffff); }},
    {"index too far", "has jumped from 1 to 18",
     [](FakeVm& vm) { vm.ring(kFromGuest).publish(static_cast<std::uint16_t>(vm.ring(kFromGuest).available() + 17)); }},
    {"index backwards", "has jumped from 1 to 0", [](FakeVm& vm) { vm.ring(kFromGuest).publish(0); }},
    {"indirect", "an indirect descriptor",
     [](FakeVm& vm) {
         offer(vm, {kGuestBase + FakeVm::kOutBuffers, 44, 4, 0});
     }},
    {"wrong direction", "wrong direction",
     [](FakeVm& vm) {
         offer(vm, {kGuestBase + FakeVm::kOutBuffers, 44, 2, 0});
     }},
    {"before memory", "lies outside the guest's memory",
     [](FakeVm& vm) {
         offer(vm, {kGuestBase - 1, 44, 0, 0});
     }},
    {"across the end", "lies outside the guest's memory",
     [](FakeVm& vm) {
         offer(vm, {kGuestBase + kMemoryBytes - 43, 44, 0, 0});
     }},
    {"longer than memory", "lies outside the guest's memory",
     [](FakeVm& vm) {
         offer(vm, {kGuestBase, 0xffff'ffff, 0, 0});
     }},
    {"address overflows", "lies outside the guest's memory",
     [](FakeVm& vm) {
         offer(vm, {0 - std::uint64_t{1}, 44, 0, 0});
     }},
    {"QEMU's address", "lies outside the guest's memory",
     [](FakeVm& vm) {
         offer(vm, {kUserBase + FakeVm::kOutBuffers, 44, 0, 0});
     }},
    {"no header", "a packet of 0 bytes", [](FakeVm& vm) { offer(vm, good_buffer(0)); }},
    {"half a header", "a packet of 43 bytes", [](FakeVm& vm) { offer(vm, good_buffer(43)); }},
    {"more than there is", "says that it carries 5 bytes, in buffers of 48",
     [](FakeVm& vm) {
         virtio_vsock_hdr header = vm.header(VIRTIO_VSOCK_OP_RW, kPorts);
         header.len = 5;
         vm.send(header, "data");
     }},
    {"more than any has", "says that it carries 4294967295 bytes",
     [](FakeVm& vm) {
         virtio_vsock_hdr header = vm.header(VIRTIO_VSOCK_OP_RW, kPorts);
         header.len = 0xffff'ffff;
         vm.send(header, "data");
     }},
    {"larger than a packet", "says that it carries 65537 bytes",
     [](FakeVm& vm) {
         virtio_vsock_hdr header = vm.header(VIRTIO_VSOCK_OP_RW, kPorts);
         header.len = 65537;
         std::memcpy(vm.memory.at(FakeVm::kOutBuffers), &header, sizeof header);
         offer(vm, good_buffer(44 + 65537));
     }},
};

TEST_F(VsockHostile, RingsOfTheGuestThatCannotBe) {
    for (const RingCase& one : kRingCases) {
        SCOPED_TRACE(one.name);
        FakeVm vm;
        vm.start();
        vm.make_room(8);
        const StreamId stream = vm.open(kPorts);
        // The first packet has used the first places of the ring: what is spoiled comes second.
        one.spoil(vm);
        vm.ring(kFromGuest).kick();
        expect_let_go(vm, one.text);
        EXPECT_EQ(vm.events.closed_count(stream), 1);
        EXPECT_EQ(vm.events.text(stream), "");
    }
}

TEST_F(VsockHostile, RoomThatIsNoneIsFoundBySending) {
    const std::vector<std::pair<Descriptor, std::string>> rooms{
        {{kGuestBase + FakeVm::kInBuffers, 44, 2, 0}, "room for packets of 44 bytes"},
        {{kGuestBase + FakeVm::kInBuffers, 4096, 0, 0}, "wrong direction"},
        {{kGuestBase + kMemoryBytes, 4096, 2, 0}, "lies outside the guest's memory"},
        {{kGuestBase + FakeVm::kInBuffers, 4096, 3, 2}, "or a loop"},
    };
    for (const auto& [room, text] : rooms) {
        FakeVm vm;
        vm.start();
        vm.make_room(1);
        vm.send(VIRTIO_VSOCK_OP_REQUEST, kPorts);
        const StreamId stream = vm.events.stream();
        ASSERT_TRUE(wait_until([&] { return vm.ring(kToGuest).used() == 1; }));
        vm.ring(kToGuest).describe(2, room);
        vm.ring(kToGuest).offer(2);
        EXPECT_TRUE(vm.backend().send(stream, bytes_of_text("x")));  // by any thread
        expect_let_go(vm, text);
        EXPECT_EQ(vm.events.closed_count(stream), 1);
        EXPECT_EQ(vm.backend().send(stream, bytes_of_text("x")).error().status, VMRPC_PEER_LOST);
    }
}

TEST_F(VsockHostile, EndlessWorkDelaysNobody) {
    FakeVm vm;
    vm.start();
    vm.make_room(8);
    const StreamId busy = vm.open(kPorts);
    // Always another packet, and kicks without a pause.
    std::atomic<bool> enough{false};
    std::thread guest([&] {
        while (!enough) vm.send(VIRTIO_VSOCK_OP_RW, kPorts, "x");
    });
    std::thread kicker([&] {
        while (!enough) vm.ring(kFromGuest).kick();
    });
    EXPECT_TRUE(wait_until([&] { return !vm.events.text(busy).empty(); }));
    for (int i = 0; i < 20; ++i) {
        EXPECT_TRUE(bystander.backend().send(known, bytes_of_text("x")));
        EXPECT_EQ(bystander.take_packet().data, "x");
        const std::string before = bystander.events.text(known);
        bystander.send(VIRTIO_VSOCK_OP_RW, kPorts, "z");
        EXPECT_TRUE(bystander.events.comes(known, before + "z"));
    }
    enough = true;
    guest.join();
    kicker.join();
    bystander.send(VIRTIO_VSOCK_OP_RST, kPorts);
    EXPECT_TRUE(bystander.events.is_told_of_end(known));
    known = bystander.open(kPorts);
}

// Whatever lies in the rings and packets: it is refused or taken for something, and neither reads nor writes elsewhere.
TEST_F(VsockHostile, NoiseIsSurvived) {
    std::mt19937 random(12345);
    const auto below = [&](std::uint32_t bound) { return static_cast<std::uint32_t>(random() % bound); };
    int disconnected = 0;
    int survived = 0;
    for (int round = 0; round < 300; ++round) {
        FakeVm vm;
        vm.start();
        vm.make_room(8);
        const StreamId stream = vm.open(kPorts);
        for (int i = 0; i < 4; ++i) vm.send(VIRTIO_VSOCK_OP_RW, kPorts, "data");
        const std::uint32_t changes = 1 + below(8);
        for (std::uint32_t i = 0; i < changes; ++i) {
            // A byte of a descriptor, of what is available, of what is used, or of a packet.
            const std::array<std::size_t, 4> areas{0, FakeRing::kAvailable, FakeRing::kUsed, 0};
            const std::uint32_t area = below(4);
            const std::size_t at = area == 3 ? FakeVm::kOutBuffers + below(8) * FakeVm::kOutBytes + below(48)
                                             : below(2) * FakeRing::kAreaBytes + areas[area] + below(256);
            *vm.memory.at(at) = static_cast<std::byte>(below(256));
            vm.ring(kFromGuest).kick();
            static_cast<void>(vm.backend().send(stream, bytes_of_text("x")));
        }
        vm.ring(kToGuest).kick();
        vm.request(Request::kGetFeatures);
        // A backend that goes on answers; one that does not has closed the socket.
        wait_until([&] { return vm.events.ends == 1 || vm.has_answer(); });
        ++(vm.events.ends == 1 ? disconnected : survived);
    }
    EXPECT_GT(disconnected, 0);
    EXPECT_GT(survived, 0);
    static_cast<void>(testing::internal::GetCapturedStderr());
    testing::internal::CaptureStderr();
}

}  // namespace
}  // namespace vmrpc::transport::vm::vsock
