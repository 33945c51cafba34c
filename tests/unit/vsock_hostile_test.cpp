// A QEMU that breaks the rules of vhost-user.
#include "unit/vsock_hostile.hpp"

#include <sys/wait.h>

namespace vmrpc::transport::vm::vsock {
namespace {

constexpr std::uint64_t kPage = 4096;

std::vector<std::byte> header_of(std::uint32_t request, std::uint32_t flags, std::uint32_t bytes) {
    const MessageHeader header{.request = request, .flags = flags, .bytes = bytes};
    const auto raw = bytes_of(header);
    return {raw.begin(), raw.end()};
}

TEST_F(VsockHostile, HeadersThatCannotBe) {
    const std::vector<std::pair<std::vector<std::byte>, std::string>> headers{
        {header_of(1, 2, 0), "a message of version 2"},
        {header_of(1, kVersion | kIsReply, 0), "came as a reply"},
        {header_of(5, kVersion, 269), "has 269 bytes"},
        {header_of(5, kVersion, 0xffff'ffff), "has 4294967295 bytes"},
        {header_of(0, kVersion, 0), "request 0, which belongs to nothing"},
        {header_of(6, kVersion, 0), "request 6, which belongs to nothing"},
        {header_of(0xffff'ffff, kVersion, 0), "request 4294967295, which belongs to nothing"},
    };
    for (const auto& [header, text] : headers) {
        FakeVm vm;
        vm.send_raw(header);
        expect_let_go(vm, text);
    }
}

TEST_F(VsockHostile, PayloadsOfTheWrongSize) {
    const std::array<std::byte, 7> seven{};
    for (const auto request : {1U, 2U, 3U, 4U, 5U, 8U, 9U, 10U, 11U, 12U, 13U, 14U, 15U, 16U, 17U, 18U, 24U}) {
        expect_refused("with 7 bytes", static_cast<Request>(request), std::span<const std::byte>(seven));
    }
    expect_refused("with 4 bytes", Request::kSetFeatures, std::uint32_t{0});
    expect_refused("with 13 bytes", Request::kGetConfig,
                   std::array<std::byte, 13>{std::byte{0}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{8}});
}

TEST_F(VsockHostile, DescriptorsThatBelongToNothing) {
    const FakeMemory memory;
    expect_refused("request 1 with 1 descriptors", Request::kGetFeatures, std::span<const std::byte>(),
                   std::vector<int>{memory.file()});
    expect_refused("a message with more descriptors", Request::kSetMemoryTable, FakeVm::memory_table({memory.region()}),
                   std::vector<int>(20, memory.file()));
    expect_refused("with 0 descriptors", Request::kSetRingKick, std::uint64_t{0});
    expect_refused("with 0 descriptors", Request::kSetRingCall, std::uint64_t{1});
    expect_refused("with 1 descriptors", Request::kSetRingCall, kNoEventfd, std::vector<int>{memory.file()});
    expect_refused("with 2 descriptors", Request::kSetRingKick, std::uint64_t{0},
                   std::vector<int>{memory.file(), memory.file()});
    expect_refused("a ring without kicks", Request::kSetRingKick, kNoEventfd);
    expect_refused("cannot watch a descriptor", Request::kSetRingKick, std::uint64_t{0},
                   std::vector<int>{memory.file()});
    expect_refused("is not an eventfd", Request::kSetRingCall, std::uint64_t{0}, std::vector<int>{memory.file()});
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
    const base::Fd in(pipe[0]);
    const base::Fd out(pipe[1]);
    expect_refused("is not an eventfd", Request::kSetRingCall, std::uint64_t{1}, std::vector<int>{out.get()});
}

TEST_F(VsockHostile, FeaturesThatWereNotOffered) {
    expect_refused("were offered", Request::kSetFeatures, kFeatures | 1U << 28);
    expect_refused("were offered", Request::kSetProtocolFeatures, kProtocolFeatures | 1U << 5);
}

TEST_F(VsockHostile, MemoryThatCannotBe) {
    const FakeMemory memory;
    const MemoryRegion good = memory.region();
    const auto refuse = [&](const std::string& text, const auto& change) {
        MemoryRegion region = good;
        change(region);
        expect_refused(text, Request::kSetMemoryTable, FakeVm::memory_table({region}), std::vector<int>{memory.file()});
    };
    refuse("is empty", [](MemoryRegion& region) { region.bytes = 0; });
    refuse("not made of pages", [](MemoryRegion& region) { region.bytes -= 1; });
    refuse("not made of pages", [](MemoryRegion& region) { region.guest_address += 8; });
    refuse("not made of pages", [](MemoryRegion& region) { region.user_address += 8; });
    refuse("not made of pages", [](MemoryRegion& region) { region.file_offset += 8; });
    refuse("beyond the end of its file", [](MemoryRegion& region) { region.bytes += kPage; });
    refuse("beyond the end of its file", [](MemoryRegion& region) { region.file_offset = kPage; });
    refuse("larger than", [](MemoryRegion& region) { region.bytes = std::uint64_t{1} << 50; });
    refuse("beyond 64 bits", [](MemoryRegion& region) { region.guest_address = 0 - kPage; });
    refuse("beyond 64 bits", [](MemoryRegion& region) { region.user_address = 0 - kPage; });
    refuse("beyond 64 bits", [](MemoryRegion& region) { region.file_offset = 0 - kPage; });
}

TEST_F(VsockHostile, MemoryTablesThatCannotBe) {
    const FakeMemory memory;
    const MemoryRegion good = memory.region();
    const std::vector<int> two{memory.file(), memory.file()};
    MemoryRegion other = good;
    other.user_address += kMemoryBytes;
    other.guest_address += kMemoryBytes - kPage;
    expect_refused("overlaps", Request::kSetMemoryTable, FakeVm::memory_table({good, other}), two);
    std::swap(other.user_address, other.guest_address);
    other.guest_address = good.guest_address + kMemoryBytes;
    other.user_address = good.user_address + kPage;
    expect_refused("overlaps", Request::kSetMemoryTable, FakeVm::memory_table({other, good}), two);
    expect_refused("1 memory regions with 0 descriptors", Request::kSetMemoryTable, FakeVm::memory_table({good}));
    expect_refused("1 memory regions with 2 descriptors", Request::kSetMemoryTable, FakeVm::memory_table({good}), two);
    auto table = FakeVm::memory_table({good});
    table[0] = std::byte{9};
    expect_refused("a table of 9 memory regions", Request::kSetMemoryTable, table, std::vector<int>{memory.file()});
    const base::Fd eventfd(::eventfd(0, EFD_CLOEXEC));
    expect_refused("not a local file's", Request::kSetMemoryTable, FakeVm::memory_table({good}),
                   std::vector<int>{eventfd.get()});
    const base::Fd reader(::open(("/proc/self/fd/" + std::to_string(memory.file())).c_str(), O_RDONLY | O_CLOEXEC));
    expect_refused("cannot map", Request::kSetMemoryTable, FakeVm::memory_table({good}),
                   std::vector<int>{reader.get()});
    expect_refused("lie outside the guest's memory", Request::kSetMemoryTable, FakeVm::memory_table({}));
}

TEST_F(VsockHostile, RingsThatCannotBe) {
    for (const std::uint32_t size : {0U, 3U, 24U, 2048U, 0x8000'0000U})
        expect_refused("a ring of " + std::to_string(size) + " descriptors", Request::kSetRingSize,
                       RingState{.index = 0, .value = size});
    expect_refused("there is no ring 3", Request::kSetRingSize, RingState{.index = 3, .value = 16});
    expect_refused("there is no ring 4294967295", Request::kGetRingBase, RingState{.index = 0xffff'ffff, .value = 0});
    expect_refused("there is no ring 9", Request::kSetRingAddress, RingAddress{.index = 9});
    expect_refused("request 12 for 0x7", Request::kSetRingKick, std::uint64_t{7});
    expect_refused("ring 5 is to be enabled", Request::kEnableRing, RingState{.index = 5, .value = 1});
    expect_refused("ring 0 is to be enabled", Request::kEnableRing, RingState{.index = 0, .value = 2});
    expect_refused("begins at 65536", Request::kSetRingBase, RingState{.index = 0, .value = 65536});
    expect_refused("is moved while it runs", Request::kSetRingBase, RingState{.index = 1, .value = 5});
    expect_refused("of the configuration", Request::kGetConfig,
                   std::array<std::uint32_t, 4>{std::uint32_t{8}, std::uint32_t{4}, 0, 0});
    expect_refused("of the configuration", Request::kGetConfig,
                   std::array<std::uint32_t, 4>{std::uint32_t{0xffff'fffe}, std::uint32_t{4}, 0, 0});
}

TEST_F(VsockHostile, RingsOutsideTheMemory) {
    const FakeMemory memory;
    const RingAddress good = FakeRing(memory, 1).address(1);
    const auto refuse = [&](const std::string& text, const auto& change) {
        RingAddress address = good;
        change(address);
        expect_refused(text, Request::kSetRingAddress, address);
    };
    for (std::uint64_t RingAddress::*const area :
         {&RingAddress::descriptors, &RingAddress::used, &RingAddress::available}) {
        refuse("lie outside the guest's memory", [&](RingAddress& address) { address.*area = kUserBase - 16; });
        refuse("lie outside the guest's memory",
               [&](RingAddress& address) { address.*area = kUserBase + kMemoryBytes - 16; });
        refuse("lie outside the guest's memory", [&](RingAddress& address) { address.*area = 0 - std::uint64_t{16}; });
        refuse("are not aligned", [&](RingAddress& address) { address.*area += 1; });
    }
    refuse("is to be logged", [](RingAddress& address) { address.flags = 1; });
}

TEST_F(VsockHostile, RingsWithoutMemoryDoNotRunUntilItIsThere) {
    FakeVm vm;
    vm.request(Request::kSetFeatures, kFeatures);
    vm.set_ring(kToGuest);
    vm.set_ring(kFromGuest);
    vm.enable(true);
    vm.settle();
    vm.make_room(4);
    vm.set_memory();
    vm.open(kPorts);
}

TEST_F(VsockHostile, SilenceHasALimit) {
    constexpr std::int64_t kLimitNs = 100'000'000;
    FakeVm silent(kLimitNs);
    expect_let_go(silent, "QEMU has not sent a whole message within 0.1 s");
    for (const std::size_t bytes : {std::size_t{1}, std::size_t{12}, std::size_t{19}}) {
        FakeVm vm(kLimitNs);
        vm.settle();
        ::usleep(150'000);  // between messages there is no limit
        vm.settle();
        const auto message = FakeVm::message(Request::kSetFeatures, bytes_of(kFeatures));
        vm.send_raw(std::span(message).first(bytes));
        expect_let_go(vm, "QEMU has not sent a whole message within 0.1 s");
    }
}

TEST_F(VsockHostile, EndInTheMiddleOfAMessage) {
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{12}, std::size_t{19}}) {
        FakeVm vm;
        vm.start();
        const int descriptors = conformance::open_descriptors();
        const auto message = FakeVm::message(Request::kSetMemoryTable, FakeVm::memory_table({vm.memory.region()}));
        if (bytes != 0) vm.send_raw(std::span(message).first(bytes), {vm.memory.file()});
        vm.hang_up();
        EXPECT_TRUE(vm.is_disconnected());
        EXPECT_LT(conformance::open_descriptors(), descriptors);
    }
}

TEST_F(VsockHostile, QemuThatDoesNotReadIsDisconnected) {
    FakeVm vm;
    const auto message = FakeVm::message(Request::kGetFeatures, {});
    for (int i = 0; i < 100'000 && vm.events.ends == 0; ++i) vm.send_raw(message);
    expect_let_go(vm, "cannot send to the peer");
}

// Not hostile, but as dead as they are.
TEST_F(VsockHostile, ForkedChildHasNoBackend) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        const auto sent = bystander.backend().send(known, bytes_of_text("x"));
        bystander.backend().close(known);
        bystander.backend().stop();
        ::_exit(!sent && sent.error().status == VMRPC_CLOSED ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace vmrpc::transport::vm::vsock
