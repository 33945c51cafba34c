// local: what a client may find at the address, and what may answer it there.
#include "local_bad_input.hpp"
#include "transport/mapping.hpp"

#include <poll.h>
#include <sys/mman.h>

#include <array>
#include <fstream>
#include <functional>
#include <thread>

namespace vmrpc::transport::conformance {
namespace {

TEST(LocalConnect, NoServer) {
    const LocalHarness harness;
    const auto error = connect_error(harness.address());
    EXPECT_EQ(error.status, VMRPC_NO_SERVER);
    EXPECT_THAT(error.text, HasSubstr(harness.address()));
    EXPECT_THAT(error.text, HasSubstr("start the server"));
}

TEST(LocalConnect, StaleSocketFile) {
    const LocalHarness harness;
    bound_socket(harness.path(), SOCK_SEQPACKET).reset();
    EXPECT_EQ(connect_error(harness.address()).status, VMRPC_NO_SERVER);
}

TEST(LocalConnect, ServerThatHasBoundAndListensSoon) {
    const LocalHarness harness;
    const auto socket = notify::GuardedFd::made_by([] { return ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0); });
    const auto address = socket_address(harness.path());
    ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address), 0);
    std::thread server([&] {
        ::usleep(10'000);
        ::listen(socket.get(), 1);
    });
    EXPECT_EQ(connect_error(harness.address(), 500'000'000).status, VMRPC_TIMED_OUT) << "it never answers";
    server.join();
}

TEST(LocalConnect, FileThatIsNoSocket) {
    const LocalHarness harness;
    std::ofstream(harness.path()) << "text";
    EXPECT_EQ(connect_error(harness.address()).status, VMRPC_NOT_VMRPC);
}

TEST(LocalConnect, SocketOfAnotherType) {
    for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
        const LocalHarness harness;
        const auto socket = bound_socket(harness.path(), type);
        EXPECT_EQ(connect_error(harness.address()).status, VMRPC_NOT_VMRPC);
    }
}

TEST(LocalConnect, SilentServer) {
    const LocalHarness harness;
    const auto socket = bound_socket(harness.path(), SOCK_SEQPACKET);
    const auto error = connect_error(harness.address(), 100'000'000);
    EXPECT_EQ(error.status, VMRPC_TIMED_OUT);
    EXPECT_THAT(error.text, HasSubstr(harness.address()));
}

TEST(LocalConnect, ServerThatNeverAccepts) {
    const LocalHarness harness;
    const auto socket = bound_socket(harness.path(), SOCK_SEQPACKET);
    ASSERT_EQ(::listen(socket.get(), 0), 0);
    auto filling = std::move(*make_socket());
    const auto address = socket_address(harness.path());
    ASSERT_EQ(::connect(filling.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address), 0);
    const auto error = connect_error(harness.address(), 100'000'000);
    EXPECT_EQ(error.status, VMRPC_TIMED_OUT);
    EXPECT_THAT(error.text, HasSubstr("queue"));
}

// A server that takes one client and does with its socket what the test says.
class FakeServer {
  public:
    FakeServer(const LocalHarness& harness, const std::function<void(int)>& serve)
        : listening_(bound_socket(harness.path(), SOCK_SEQPACKET)), thread_([this, serve] {
              static_cast<void>(wait_readable(listening_.get(), base::Deadline::in(kWatchdogNs)));
              const auto client = notify::GuardedFd::made_by(
                  [this] { return ::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC); });
              Hello hello;
              static_cast<void>(wait_readable(client.get(), base::Deadline::in(kWatchdogNs)));
              static_cast<void>(receive_message(client.get(), writable_bytes_of(hello)));
              serve(client.get());
          }) {}
    FakeServer(const FakeServer&) = delete;
    FakeServer& operator=(const FakeServer&) = delete;
    ~FakeServer() { thread_.join(); }

  private:
    notify::GuardedFd listening_;
    std::thread thread_;
};

base::Error error_from(const std::function<void(int)>& serve) {
    const LocalHarness harness;
    const FakeServer server(harness, serve);
    return connect_error(harness.address());
}

// Ends when the client has gone, so that the fake server does not look dead before.
void await_end(int socket) {
    pollfd poll{.fd = socket, .events = POLLRDHUP, .revents = 0};
    ::poll(&poll, 1, 10'000);
}

TEST(LocalConnect, ServerThatHangsUp) {
    EXPECT_EQ(error_from([](int) {}).status, VMRPC_PEER_LOST);
}

TEST(LocalConnect, ServerOfAnotherProtocol) {
    const auto error = error_from([](int socket) {
        EXPECT_EQ(::send(socket, "220 hello\r\n", 11, MSG_NOSIGNAL), 11);
        await_end(socket);
    });
    EXPECT_EQ(error.status, VMRPC_NOT_VMRPC);
}

TEST(LocalConnect, ServerOfAnotherLayout) {
    const auto error = error_from([](int socket) {
        Offer offer;
        offer.head.layout_major = 7;
        EXPECT_TRUE(send_message(socket, bytes_of(offer)));
        await_end(socket);
    });
    EXPECT_EQ(error.status, VMRPC_LAYOUT_VERSION);
    EXPECT_THAT(error.text, HasSubstr("7.0"));
}

TEST(LocalConnect, RefusalIsToldWithItsText) {
    const auto error = error_from([](int socket) {
        Offer offer;
        offer.status = VMRPC_SHUTTING_DOWN;
        offer.text.fill('x');  // not ended by a NUL
        EXPECT_TRUE(send_message(socket, bytes_of(offer)));
        await_end(socket);
    });
    EXPECT_EQ(error.status, VMRPC_SHUTTING_DOWN);
    EXPECT_THAT(error.text, HasSubstr("refused: xxx"));
}

TEST(LocalConnect, RefusalWithAStatusThatCannotBe) {
    const auto error = error_from([](int socket) {
        Offer offer;
        offer.status = 2'019'778'304;
        EXPECT_TRUE(send_message(socket, bytes_of(offer)));
        await_end(socket);
    });
    EXPECT_EQ(error.status, VMRPC_POISONED);
}

TEST(LocalConnect, OfferWithoutDescriptors) {
    const auto error = error_from([](int socket) {
        EXPECT_TRUE(send_message(socket, bytes_of(Offer{})));
        await_end(socket);
    });
    EXPECT_EQ(error.status, VMRPC_OUT_OF_RESOURCES);
}

base::Error error_from_memory(int memory, std::uint64_t claimed_bytes) {
    return error_from([=](int socket) {
        Offer offer;
        offer.segment_bytes = claimed_bytes;
        offer.region_offset = layout::kAreaBytes;
        const std::array<int, 2> descriptors{memory, memory};
        EXPECT_TRUE(send_message(socket, bytes_of(offer), descriptors));
        std::ignore = send_message(socket, bytes_of(Ready{}));  // the client may have hung up on the offer alone
        await_end(socket);
    });
}

TEST(LocalConnect, MemoryThatIsNotSealed) {
    const base::Fd memory(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_EQ(::ftruncate(memory.get(), kMappingAlignment), 0);
    EXPECT_EQ(error_from_memory(memory.get(), kMappingAlignment).status, VMRPC_POISONED);
}

TEST(LocalConnect, MemoryOfAnotherSize) {
    const auto memory = make_segment_memory(kMappingAlignment);
    EXPECT_EQ(error_from_memory(memory->get(), 2 * kMappingAlignment).status, VMRPC_POISONED);
}

TEST(LocalConnect, MemoryWithoutASegment) {
    const auto memory = make_segment_memory(kMappingAlignment);
    EXPECT_EQ(error_from_memory(memory->get(), kMappingAlignment).status, VMRPC_NOT_VMRPC);
}

TEST(LocalConnect, SegmentWithoutARegion) {
    const auto memory = make_segment_memory(kMappingAlignment);
    const auto mapping = Mapping::anywhere(memory->get(), kMappingAlignment, layout::make_uuid());
    layout::format_segment((*mapping)->base(), kMappingAlignment, 1, layout::make_uuid(), "test");
    EXPECT_EQ(error_from_memory(memory->get(), kMappingAlignment).status, VMRPC_POISONED);
}

}  // namespace
}  // namespace vmrpc::transport::conformance
