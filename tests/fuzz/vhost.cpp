// A VM's socket device: what QEMU says over vhost-user, with descriptors, and what the guest writes into rings and
// packets, against the device that reads them; in one thread, in place of the backend's.
#include "base/fd.hpp"
#include "fuzz/input.hpp"
#include "transport/vm/vsock/vhost_user.hpp"
#include "transport/vm/vsock/vsock_device.hpp"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

namespace vmrpc::fuzz {
namespace {

using namespace transport::vm::vsock;

constexpr std::uint64_t kCid = 42;
constexpr std::uint64_t kGuestBase = 0x4000'0000;
constexpr std::uint64_t kUserBase = 0x7f12'0000'0000;
constexpr std::uint64_t kRamBytes = std::uint64_t{64} * 1024;
constexpr std::uint32_t kRingSize = 16;
constexpr std::uint64_t kRingBytes = 4096;  // descriptors, available at 1024, used at 2048

/// What a VsockBackend does with its device, without threads and descriptors.
class Owner final : public RingOwner {
  public:
    void set_memory(std::unique_ptr<GuestMemory> memory) override {
        std::ignore = device.set_memory(std::move(memory));
    }
    void start_ring(std::uint32_t index, const RingPlace& place, std::uint16_t next) override {
        device.start_ring(index, place, next);
    }
    std::uint16_t stop_ring(std::uint32_t index) override { return device.stop_ring(index); }
    base::Status set_kick(std::uint32_t /*index*/, notify::GuardedFd /*kick*/) override { return {}; }
    void set_call(std::uint32_t /*index*/, notify::GuardedFd /*call*/) override {}

    /// False: the guest has broken the protocol.
    bool work(Input& input) {
        static std::array<std::byte, kReceiveBytes> received{};
        for (int turn = 0; turn < 20; ++turn) {
            const auto event = device.next_event(received);
            if (!event) return false;
            if (event->kind == Event::Kind::kOpened) {
                device.answer(event->stream, !input.one_in(4));
                last = event->stream;
            }
            if (event->kind == Event::Kind::kReceived && input.flag())
                device.consume(event->stream, event->bytes.size());
            if (event->kind == Event::Kind::kIdle) break;
        }
        return device.flush().has_value();
    }

    VsockDevice device{kCid};
    StreamId last{};
};

class Vm {
  public:
    Vm() {
        std::array<int, 2> ends{-1, -1};
        std::ignore = ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data());
        qemu_ = base::Fd(ends[0]);
        device_ = base::Fd(ends[1]);
        std::ignore = ::ftruncate(ram_file().get(), 0);
        std::ignore = ::ftruncate(ram_file().get(), kRamBytes);
        vhost_user_.emplace(device_.get(), kCid, owner);
    }

    template <class Payload>
    bool say(Input& input, Request request, Payload payload, int descriptor = -1) {
        std::array<std::byte, sizeof(MessageHeader) + sizeof payload> message{};
        MessageHeader header{static_cast<std::uint32_t>(request), kVersion, sizeof payload};
        if (input.one_in(16)) input.spoil(header);
        if (input.one_in(4)) input.spoil(payload);
        if (input.one_in(8)) header.flags |= kNeedsReply;
        if (input.one_in(32)) descriptor = ram_file().get();
        std::memcpy(message.data(), &header, sizeof header);
        std::memcpy(message.data() + sizeof header, &payload, sizeof payload);
        return send(message, descriptor) && receive();
    }
    bool say_bytes(Input& input) { return send(input.take_bytes(300), -1) && receive(); }
    bool set_memory(Input& input) {
        struct Table {
            MemoryTable head{.regions = 1, .padding = 0};
            MemoryRegion region{kGuestBase, kRamBytes, kUserBase, 0};
        };
        return say(input, Request::kSetMemoryTable, Table{}, ram_file().get());
    }
    bool set_ring(Input& input, std::uint32_t index) {
        const std::uint64_t at = kUserBase + index * kRingBytes;
        const base::Fd bell(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        return say(input, Request::kSetRingSize, RingState{index, kRingSize}) &&
               say(input, Request::kSetRingBase, RingState{index, 0}) &&
               say(input, Request::kSetRingAddress, RingAddress{index, 0, at, at + 2048, at + 1024, 0}) &&
               say(input, Request::kSetRingKick, std::uint64_t{index}, bell.get()) &&
               say(input, Request::kEnableRing, RingState{index, 1});
    }

    /// A buffer in a ring, as a driver offers it. Buffers lie behind the rings.
    void offer(Input& input, std::uint32_t index) {
        std::byte* const ring = ram() + index * kRingBytes;
        const std::uint16_t slot = static_cast<std::uint16_t>(offered_[index] % kRingSize);
        Descriptor descriptor{kGuestBase + kBuffers + slot * std::uint64_t{256}, 256, 0, 0};
        descriptor.flags = index == kToGuest ? 2 : 0;
        if (input.one_in(4)) input.spoil(descriptor);
        std::memcpy(ring + slot * sizeof descriptor, &descriptor, sizeof descriptor);
        std::memcpy(ring + 1024 + 4 + 2 * slot, &slot, sizeof slot);
        ++offered_[index];
        std::memcpy(ring + 1024 + 2, &offered_[index], 2);
    }
    void send_packet(Input& input) {
        virtio_vsock_hdr header{};
        header.src_cid = kCid;
        header.dst_cid = kHostCid;
        header.src_port = input.below(3);
        header.dst_port = 1;
        header.len = input.below(220);
        header.type = VIRTIO_VSOCK_TYPE_STREAM;
        header.op = static_cast<std::uint16_t>(input.below(10));
        header.flags = input.below(4);
        header.buf_alloc = input.below(4) * 4096;
        header.fwd_cnt = input.below(4);
        if (input.one_in(4)) input.spoil(header);
        const std::uint32_t slot = offered_[kFromGuest] % kRingSize;
        std::memcpy(ram() + kBuffers + std::uint64_t{slot} * 256, &header, sizeof header);
        offer(input, kFromGuest);
    }
    void scribble(Input& input) { input.scribble({ram(), kRamBytes}); }

    Owner owner;

  private:
    static constexpr std::uint64_t kBuffers = 4 * kRingBytes;

    static const base::Fd& ram_file() {
        static const base::Fd made(::memfd_create("fuzz-ram", MFD_CLOEXEC));
        return made;
    }
    static std::byte* ram() {
        static void* const mapped = ::mmap(nullptr, kRamBytes, PROT_READ | PROT_WRITE, MAP_SHARED, ram_file().get(), 0);
        return static_cast<std::byte*>(mapped);
    }
    [[nodiscard]] bool send(std::span<const std::byte> bytes, int descriptor) const {
        iovec part{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
        alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        if (descriptor >= 0) {
            message.msg_control = control.data();
            message.msg_controllen = control.size();
            cmsghdr* const rights = CMSG_FIRSTHDR(&message);
            *rights = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
            std::memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
        }
        return ::sendmsg(qemu_.get(), &message, MSG_NOSIGNAL) >= 0;
    }
    /// False: the device has given the connection up.
    bool receive() {
        for (;;) {
            const auto progress = vhost_user_->receive();
            if (!progress) return false;
            if (*progress != MessageReader::Progress::kMessage) break;
        }
        std::array<std::byte, 512> answer{};
        while (::recv(qemu_.get(), answer.data(), answer.size(), 0) > 0) {
        }
        return true;
    }

    base::Fd qemu_;
    base::Fd device_;
    std::optional<VhostUser> vhost_user_;
    std::array<std::uint16_t, kRings> offered_{};
};

bool step(Vm& vm, Input& input) {
    switch (input.below(12)) {
        case 0:
            return vm.set_memory(input);
        case 1:
            return vm.set_ring(input, input.below(kRings));
        case 2:
            return vm.say(input, Request::kGetRingBase, RingState{input.below(4), 0});
        case 3:
            return vm.say(input, static_cast<Request>(input.below(32)), input.take<std::uint64_t>());
        case 4:
            return vm.say(input, Request::kGetConfig, std::array<std::uint32_t, 5>{0, 8, 0, 0, 0});
        case 5:
            return vm.say_bytes(input);
        case 6:
            vm.scribble(input);
            return vm.owner.work(input);
        case 7:
            vm.offer(input, kToGuest);
            return true;
        case 8:
            std::ignore = vm.owner.device.send(vm.owner.last, input.take_bytes(64));
            return true;
        case 9:
            vm.owner.device.close(vm.owner.last);
            return true;
        default:
            vm.send_packet(input);
            return vm.owner.work(input);
    }
}

}  // namespace
}  // namespace vmrpc::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace vmrpc::fuzz;
    Input input(data, size);
    Vm vm;
    // Most inputs begin with a device that works: what comes before is a part of those that do not.
    if (!input.one_in(4)) {
        if (!vm.set_memory(input) || !vm.set_ring(input, kToGuest) || !vm.set_ring(input, kFromGuest)) return 0;
        for (int i = 0; i < 4; ++i) vm.offer(input, kToGuest);
    }
    for (int steps = 0; steps < 100 && !input.is_empty(); ++steps)
        if (!step(vm, input)) break;
    std::ignore = vm.owner.device.lose_all();
    return 0;
}
