// What QEMU and a guest's driver do at the other end of a VsockBackend, without either: the vhost-user messages over a
// socket pair, rings and packets in memory that both have.
#pragma once

#include "transport/socket.hpp"
#include "unit/vsock_fake_driver.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <type_traits>

namespace vmrpc::transport::vm::vsock {

struct Packet {
    virtio_vsock_hdr header{};
    std::string data;
};

/// A VM at a backend of its own.
class FakeVm {
  public:
    explicit FakeVm(std::int64_t message_limit_ns = VsockBackend::kMessageLimitNs) {
        int other = -1;
        auto guarded = notify::GuardedFd::made_by([&] {
            std::array<int, 2> ends{-1, -1};
            EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
            other = ends[1];
            return ends[0];
        });
        socket_ = base::Fd(other);
        const timeval patience{.tv_sec = 20, .tv_usec = 0};
        ::setsockopt(other, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        ::fcntl(guarded.get(), F_SETFL, O_NONBLOCK);
        backend_ = std::make_shared<VsockBackend>(std::move(guarded), kCid, events, message_limit_ns);
        const auto started = backend_->start();
        EXPECT_TRUE(started) << started.error().text;
    }
    FakeVm(const FakeVm&) = delete;
    FakeVm& operator=(const FakeVm&) = delete;
    ~FakeVm() {
        if (backend_ != nullptr) backend_->stop();
    }

    // ---- QEMU

    void send_raw(std::span<const std::byte> bytes, const std::vector<int>& descriptors = {}) const {
        std::vector<char> control(CMSG_SPACE(sizeof(int) * descriptors.size()));
        iovec part{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
        msghdr header{};
        header.msg_iov = &part;
        header.msg_iovlen = 1;
        if (!descriptors.empty()) {
            header.msg_control = control.data();
            header.msg_controllen = control.size();
            cmsghdr* rights = CMSG_FIRSTHDR(&header);
            rights->cmsg_level = SOL_SOCKET;
            rights->cmsg_type = SCM_RIGHTS;
            rights->cmsg_len = CMSG_LEN(sizeof(int) * descriptors.size());
            std::memcpy(CMSG_DATA(rights), descriptors.data(), sizeof(int) * descriptors.size());
        }
        static_cast<void>(::sendmsg(socket_.get(), &header, MSG_NOSIGNAL));  // it may have been disconnected
    }
    [[nodiscard]] static std::vector<std::byte> message(Request request, std::span<const std::byte> payload,
                                                        std::uint32_t flags = kVersion) {
        const MessageHeader header{.request = static_cast<std::uint32_t>(request),
                                   .flags = flags,
                                   .bytes = static_cast<std::uint32_t>(payload.size())};
        std::vector<std::byte> bytes(sizeof header);
        std::memcpy(bytes.data(), &header, sizeof header);
        bytes.insert(bytes.end(), payload.begin(), payload.end());
        return bytes;
    }
    void request(Request request, std::span<const std::byte> payload, const std::vector<int>& descriptors = {},
                 std::uint32_t flags = kVersion) const {
        send_raw(message(request, payload, flags), descriptors);
    }
    template <class T>
    requires(!std::is_convertible_v<T, std::span<const std::byte>>) void request(
        Request what, const T& payload, const std::vector<int>& descriptors = {}) const {
        request(what, bytes_of(payload), descriptors);
    }
    void request(Request what) const { request(what, std::span<const std::byte>()); }
    /// Blocks for a reply to the request, of just this type.
    template <class T>
    [[nodiscard]] T reply(Request what) const {
        std::array<std::byte, sizeof(MessageHeader) + sizeof(T)> bytes{};
        EXPECT_EQ(::recv(socket_.get(), bytes.data(), bytes.size(), MSG_WAITALL), static_cast<ssize_t>(bytes.size()));
        MessageHeader header;
        T value{};
        std::memcpy(&header, bytes.data(), sizeof header);
        std::memcpy(&value, bytes.data() + sizeof header, sizeof value);
        EXPECT_EQ(header.request, static_cast<std::uint32_t>(what));
        EXPECT_EQ(header.flags, kVersion | kIsReply);
        EXPECT_EQ(header.bytes, sizeof(T));
        return value;
    }
    [[nodiscard]] bool has_answer() const {
        std::byte byte{};
        return ::recv(socket_.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 1;
    }
    /// All messages before have been handled.
    void settle() const {
        request(Request::kGetFeatures);
        static_cast<void>(reply<std::uint64_t>(Request::kGetFeatures));
    }
    [[nodiscard]] static std::vector<std::byte> memory_table(const std::vector<MemoryRegion>& regions) {
        const MemoryTable table{.regions = static_cast<std::uint32_t>(regions.size()), .padding = 0};
        std::vector<std::byte> bytes(sizeof table);
        std::memcpy(bytes.data(), &table, sizeof table);
        const auto rest = std::as_bytes(std::span(regions));
        bytes.insert(bytes.end(), rest.begin(), rest.end());
        return bytes;
    }
    void set_memory() const { request(Request::kSetMemoryTable, memory_table({memory.region()}), {memory.file()}); }
    void set_ring(std::uint32_t index, std::uint32_t next = 0) {
        request(Request::kSetRingSize, RingState{.index = index, .value = kRingSize});
        request(Request::kSetRingBase, RingState{.index = index, .value = next});
        request(Request::kSetRingAddress, ring(index).address(index));
        request(Request::kSetRingCall, std::uint64_t{index}, {ring(index).call_descriptor()});
        request(Request::kSetRingKick, std::uint64_t{index}, {ring(index).kick_descriptor()});
    }
    void enable(bool enabled) const {
        for (const std::uint32_t index : {kToGuest, kFromGuest})
            request(Request::kEnableRing, RingState{.index = index, .value = enabled ? 1U : 0U});
    }
    /// Everything, as QEMU does it.
    void start() {
        request(Request::kSetFeatures, kFeatures);
        set_memory();
        set_ring(kToGuest);
        set_ring(kFromGuest);
        enable(true);
        settle();
    }
    [[nodiscard]] std::uint32_t stop_ring(std::uint32_t index) const {
        request(Request::kGetRingBase, RingState{.index = index, .value = 0});
        const auto state = reply<RingState>(Request::kGetRingBase);
        EXPECT_EQ(state.index, index);
        return state.value;
    }
    void hang_up() { socket_.reset(); }
    /// Whether the backend has closed the connection. What it has sent before is dropped.
    [[nodiscard]] bool is_hung_up() const {
        std::byte byte{};
        ssize_t got = 1;
        while (got > 0) got = ::recv(socket_.get(), &byte, 1, 0);
        return got == 0 || errno == ECONNRESET;
    }
    /// The same, and it has told of it once.
    [[nodiscard]] bool is_disconnected() const {
        return (!socket_.valid() || is_hung_up()) && wait_until([&] { return events.ends == 1; });
    }

    // ---- the guest's driver

    FakeRing& ring(std::uint32_t index) { return rings_[index]; }
    static constexpr std::size_t kOutBuffers = 0x10000;
    static constexpr std::size_t kOutBytes = 0x8000;
    static constexpr std::size_t kInBuffers = 0x80000;
    static constexpr std::size_t kInBytes = 0x1000;

    /// Makes room for that many packets more. At most kRingSize may be unused.
    void make_room(std::uint32_t packets, std::uint32_t bytes = kInBytes) {
        for (std::uint32_t i = 0; i < packets; ++i) {
            const std::uint32_t slot = rings_[kToGuest].available() % kRingSize;
            rings_[kToGuest].describe(slot, {kGuestBase + kInBuffers + slot * kInBytes, bytes, 2, 0});
            rings_[kToGuest].offer(static_cast<std::uint16_t>(slot));
        }
        rings_[kToGuest].kick_if_wanted();
    }
    /// The next packet for the guest; makes room for another in its place.
    Packet take_packet() {
        EXPECT_TRUE(wait_until([&] { return rings_[kToGuest].used() != taken_; })) << "no packet came";
        Packet packet;
        if (rings_[kToGuest].used() == taken_) return packet;
        const auto [head, bytes] = rings_[kToGuest].used_element(taken_++);
        const std::byte* data = memory.at(kInBuffers + head * kInBytes);
        std::memcpy(&packet.header, data, sizeof packet.header);
        packet.data.assign(reinterpret_cast<const char*>(data) + sizeof packet.header, bytes - sizeof packet.header);
        EXPECT_EQ(packet.header.len, packet.data.size());
        EXPECT_EQ(packet.header.src_cid, kHostCid);
        EXPECT_EQ(packet.header.dst_cid, kCid);
        make_room(1);
        return packet;
    }
    void expect_packet(virtio_vsock_op op, const Ports& ports) {
        const Packet packet = take_packet();
        EXPECT_EQ(packet.header.op, op);
        EXPECT_EQ(packet.header.src_port, ports.host);
        EXPECT_EQ(packet.header.dst_port, ports.guest);
    }
    [[nodiscard]] bool has_packet() const { return rings_[kToGuest].used() != taken_; }
    [[nodiscard]] virtio_vsock_hdr header(virtio_vsock_op op, const Ports& ports) const {
        virtio_vsock_hdr header{};
        header.src_cid = kCid;
        header.dst_cid = kHostCid;
        header.src_port = ports.guest;
        header.dst_port = ports.host;
        header.type = VIRTIO_VSOCK_TYPE_STREAM;
        header.op = static_cast<std::uint16_t>(op);
        header.buf_alloc = room;
        header.fwd_cnt = taken_bytes;
        return header;
    }
    /// In two buffers, as Linux has it; waits for a free place in the ring.
    void send(const virtio_vsock_hdr& header, const std::string& data = {}, std::uint32_t first_bytes = 44) {
        FakeRing& out = rings_[kFromGuest];
        EXPECT_TRUE(wait_until([&] { return static_cast<std::uint16_t>(out.available() - out.used()) < 8; }));
        const std::uint32_t slot = out.available() % 8;
        std::byte* const buffer = memory.at(kOutBuffers + slot * kOutBytes);
        std::memcpy(buffer, &header, sizeof header);
        std::memcpy(buffer + sizeof header, data.data(), data.size());
        const std::uint64_t address = kGuestBase + kOutBuffers + slot * kOutBytes;
        const auto total = static_cast<std::uint32_t>(sizeof header + data.size());
        const std::uint32_t first = std::min(first_bytes, total);
        out.describe(2 * slot, {address, first, first < total ? std::uint16_t{1} : std::uint16_t{0},
                                static_cast<std::uint16_t>(2 * slot + 1)});
        out.describe(2 * slot + 1, {address + first, total - first, 0, 0});
        out.offer(static_cast<std::uint16_t>(2 * slot));
        out.kick_if_wanted();
    }
    void send(virtio_vsock_op op, const Ports& ports, const std::string& data = {}) {
        virtio_vsock_hdr packet = header(op, ports);
        packet.len = static_cast<std::uint32_t>(data.size());
        send(packet, data);
    }
    /// A stream from its request to its response. Requires that no other packet is on its way to the guest.
    StreamId open(const Ports& ports) {
        const std::size_t before = events.opened_count();
        send(VIRTIO_VSOCK_OP_REQUEST, ports);
        expect_packet(VIRTIO_VSOCK_OP_RESPONSE, ports);
        return events.stream(before);
    }
    void restart_driver() {
        for (FakeRing& ring : rings_) ring.clear();
        taken_ = 0;
    }

    VsockBackend& backend() { return *backend_; }
    void drop_backend() { backend_.reset(); }

    FakeMemory memory;
    Recorder events;
    std::uint32_t room = 64 * 1024;  // that the guest says it has in each stream
    std::uint32_t taken_bytes = 0;   // that the guest says it has consumed

  private:
    base::Fd socket_;
    std::shared_ptr<VsockBackend> backend_;
    std::array<FakeRing, 2> rings_{FakeRing(memory, 0), FakeRing(memory, 1)};
    std::uint16_t taken_ = 0;
};

/// A VM that has been set up.
class VsockStream : public testing::Test {
  protected:
    VsockStream() {
        vm.start();
        vm.make_room(8);
    }
    FakeVm vm;
};

}  // namespace vmrpc::transport::vm::vsock
