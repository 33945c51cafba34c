// local: and what is wrong at the other end: each case a named test. kPromptly is the limit of what has to be told
// within a second: who gets another error than VMRPC_TIMED_OUT under it was told in time.
#include "ends.hpp"
#include "local_harness.hpp"
#include "transport/local/protocol.hpp"
#include "transport/local/socket.hpp"
#include "transport/mapping.hpp"

#include <gmock/gmock.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <random>
#include <thread>

namespace vmrpc::transport::conformance {
namespace {

using namespace local;
using ::testing::HasSubstr;

constexpr std::int64_t kPromptly = 1'000'000'000;

base::Error connect_error(const std::string& address, std::int64_t limit_ns = kPromptly) {
    ClientEnd client;
    const auto link = connect({address, {}, base::Deadline::in(limit_ns)}, client);
    return link ? base::Error{VMRPC_OK, "connected"} : link.error();
}

base::Error listen_error(const std::string& address) {
    ServerEnd server;
    const auto listener = listen({address, {}, 0}, server);
    return listener ? base::Error{VMRPC_OK, "listens"} : listener.error();
}

bool connects(const std::string& address) {
    return connect_error(address).status == VMRPC_OK;
}

notify::GuardedFd bound_socket(const std::string& path, int type) {
    auto socket = notify::GuardedFd::made_by([type] { return ::socket(AF_UNIX, type | SOCK_CLOEXEC, 0); });
    const auto address = socket_address(path);
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address), 0);
    if (type != SOCK_DGRAM) {
        EXPECT_EQ(::listen(socket.get(), 8), 0);
    }
    return socket;
}

// ---------------------------------------------------------------- addresses

TEST(LocalAddress, UnknownSchemeNamesTheKnownOnes) {
    for (const char* address : {"", "local", "/run/x.sock", "tcp:host:1", ":x", "LOCAL:/x"}) {
        EXPECT_EQ(connect_error(address).status, VMRPC_BAD_ADDRESS) << address;
        EXPECT_THAT(listen_error(address).text, HasSubstr("local:"));
    }
}

TEST(LocalAddress, EmptyPath) {
    EXPECT_EQ(connect_error("local:").status, VMRPC_BAD_ADDRESS);
    EXPECT_EQ(listen_error("local:").status, VMRPC_BAD_ADDRESS);
}

TEST(LocalAddress, TooLongPath) {
    const std::string address = "local:/tmp/" + std::string(200, 'x');
    EXPECT_EQ(connect_error(address).status, VMRPC_BAD_ADDRESS);
    EXPECT_EQ(listen_error(address).status, VMRPC_BAD_ADDRESS);
    EXPECT_THAT(listen_error(address).text, HasSubstr("205 bytes, a socket's path at most 107"));
}

TEST(LocalAddress, PathWithNul) {
    const std::string address("local:/tmp/a\0b", 14);
    EXPECT_EQ(connect_error(address).status, VMRPC_BAD_ADDRESS);
    EXPECT_EQ(listen_error(address).status, VMRPC_BAD_ADDRESS);
}

TEST(LocalAddress, PathOfAFolder) {
    const LocalHarness harness;
    EXPECT_EQ(listen_error("local:" + harness.folder() + "/").status, VMRPC_BAD_ADDRESS);
    EXPECT_EQ(listen_error("local:" + harness.folder()).status, VMRPC_ADDRESS_IN_USE);
    EXPECT_EQ(connect_error("local:" + harness.folder()).status, VMRPC_NOT_VMRPC);
}

TEST(LocalAddress, MissingFolder) {
    const LocalHarness harness;
    const std::string folder = harness.folder() + "/missing/";
    EXPECT_EQ(listen_error("local:" + folder + "x").status, VMRPC_BAD_ADDRESS);
    EXPECT_THAT(listen_error("local:" + folder + "x").text, HasSubstr(folder));
    EXPECT_EQ(connect_error("local:" + folder + "x").status, VMRPC_NO_SERVER);
}

TEST(LocalAddress, RelativePathSurvivesAChangeOfFolder) {
    const LocalHarness harness;
    const std::string before = std::filesystem::current_path();
    std::filesystem::current_path(harness.folder());
    ServerEnd server;
    auto listener = listen({"local:0.sock", {}, 0}, server);
    ASSERT_TRUE(listener) << listener.error().text;
    EXPECT_TRUE(connects("local:0.sock"));
    std::filesystem::current_path(before);
    EXPECT_TRUE(connects(harness.address()));
    listener->reset();
    EXPECT_FALSE(std::filesystem::exists(harness.path()));
}

// ---------------------------------------------------------------- what a client may find

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
        EXPECT_TRUE(send_message(socket, bytes_of(Ready{})));
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

// ---------------------------------------------------------------- what a server may be sent

class LocalServer : public ::testing::Test {
  protected:
    void SetUp() override {
        auto made = listen({harness_.address(), {.heap_bytes = 1}, 0}, server_);
        ASSERT_TRUE(made) << made.error().text;
        listener_ = std::move(*made);
    }
    void TearDown() override { EXPECT_TRUE(connects(harness_.address())) << "the server does not serve any more"; }

    [[nodiscard]] notify::GuardedFd raw_client() const {
        auto socket = std::move(*make_socket());
        const auto address = socket_address(harness_.path());
        EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address), 0);
        return socket;
    }
    // What the server answers within a second: a message, or the end (also: nothing, which no test expects).
    template <class Message>
    static Arrival answer(int socket, Message& message) {
        static_cast<void>(wait_readable(socket, base::Deadline::in(kPromptly)));
        return receive_message(socket, writable_bytes_of(message), Descriptors::kWanted).arrival;
    }
    static bool is_let_go(int socket) {
        Offer offer;
        return answer(socket, offer) == Arrival::kEnd;
    }
    static Hello good_hello() {
        Hello hello;
        hello.lane_count = 1;
        hello.page_bytes = 4096;
        return hello;
    }
    void expect_let_go(std::span<const std::byte> message) const {
        const auto client = raw_client();
        ASSERT_TRUE(send_message(client.get(), message));
        EXPECT_TRUE(is_let_go(client.get()));
    }
    void expect_refused(const Hello& hello, vmrpc_status status, const std::string& text) const {
        const auto client = raw_client();
        ASSERT_TRUE(send_message(client.get(), bytes_of(hello)));
        Offer offer;
        ASSERT_EQ(answer(client.get(), offer), Arrival::kMessage);
        EXPECT_EQ(offer.status, static_cast<std::uint32_t>(status));
        EXPECT_THAT(offer.text.data(), HasSubstr(text));
        EXPECT_TRUE(is_let_go(client.get()));
    }

    LocalHarness harness_;
    ServerEnd server_;
    std::unique_ptr<Listener> listener_;
};

TEST_F(LocalServer, WrongMagic) {
    Hello hello = good_hello();
    hello.head.magic ^= 1;
    expect_let_go(bytes_of(hello));
}

TEST_F(LocalServer, ShortHello) {
    const Hello hello = good_hello();
    for (const std::size_t bytes : {std::size_t{1}, sizeof(MessageHead) - 1, sizeof(MessageHead), sizeof(Hello) - 1})
        expect_let_go(bytes_of(hello).first(bytes));
}

TEST_F(LocalServer, LongHello) {
    std::vector<std::byte> bytes(sizeof(Hello) + 1);
    const Hello hello = good_hello();
    std::memcpy(bytes.data(), &hello, sizeof hello);
    expect_let_go(bytes);
}

TEST_F(LocalServer, MappedBeforeHello) {
    expect_let_go(bytes_of(Mapped{}));
}

TEST_F(LocalServer, HelloOfAnotherLayoutVersion) {
    Hello hello = good_hello();
    hello.head.layout_major = 9;
    hello.head.layout_minor = 3;
    expect_refused(hello, VMRPC_LAYOUT_VERSION, "9.3");
    expect_refused(hello, VMRPC_LAYOUT_VERSION, "1.0");
}

TEST_F(LocalServer, ShortHelloOfAnotherLayoutVersion) {
    MessageHead head{.kind = MessageKind::kHello};
    head.layout_major = 9;
    const auto client = raw_client();
    ASSERT_TRUE(send_message(client.get(), bytes_of(head)));
    Offer offer;
    ASSERT_EQ(answer(client.get(), offer), Arrival::kMessage);
    EXPECT_EQ(offer.status, static_cast<std::uint32_t>(VMRPC_LAYOUT_VERSION));
}

TEST_F(LocalServer, PagesThatTheLayoutDoesNotFit) {
    for (const std::uint32_t page_bytes : {0U, 100U, 5000U, 2U * 1024 * 1024, ~0U}) {
        Hello hello = good_hello();
        hello.page_bytes = page_bytes;
        expect_refused(hello, VMRPC_NOT_SUPPORTED, "pages");
    }
}

TEST_F(LocalServer, WishesWithoutMeasure) {
    Hello hello = good_hello();
    hello.heap_bytes = ~std::uint64_t{0};
    hello.lane_count = ~0U;
    hello.flags = ~0U;
    hello.only_cpu = 1 << 30;
    hello.first_slot = ~std::uint64_t{0};
    const auto client = raw_client();
    ASSERT_TRUE(send_message(client.get(), bytes_of(hello)));
    Offer offer;
    ASSERT_EQ(answer(client.get(), offer), Arrival::kMessage);
    EXPECT_EQ(offer.status, static_cast<std::uint32_t>(VMRPC_OK));
    // The server's most, not the client's wish.
    EXPECT_EQ(offer.segment_bytes,
              layout::segment_bytes_for({.lane_count = layout::kMaxLanes, .arena_bytes = layout::kMinArenaBytes}));
}

TEST_F(LocalServer, SlotsThatDoNotExist) {
    Hello hello = good_hello();
    hello.flags = kWishesEqualAddresses;
    hello.free_slots.fill(~std::uint64_t{0});  // also those that are in use here, and those behind the last
    const auto client = raw_client();
    ASSERT_TRUE(send_message(client.get(), bytes_of(hello)));
    Offer offer;
    ASSERT_EQ(answer(client.get(), offer), Arrival::kMessage);
    EXPECT_TRUE(in_slots(offer.server_address, offer.segment_bytes));
}

TEST_F(LocalServer, AnyAddressIsBelievedButNotAgreedOn) {
    const auto client = raw_client();
    Hello hello = good_hello();
    hello.flags = kWishesEqualAddresses;
    ASSERT_TRUE(send_message(client.get(), bytes_of(hello)));
    Offer offer;
    ASSERT_EQ(answer(client.get(), offer), Arrival::kMessage);
    Mapped mapped;
    mapped.client_address = 0xdead'beef'dead'beef;
    ASSERT_TRUE(send_message(client.get(), bytes_of(mapped)));
    Ready ready;
    ASSERT_EQ(answer(client.get(), ready), Arrival::kMessage);
    ASSERT_NE(server_.link(), nullptr);
    EXPECT_EQ(server_.link()->plan().agreed_address, 0U);
    EXPECT_EQ(server_.link()->peer_segment_address(), 0xdead'beef'dead'beefU);
}

TEST_F(LocalServer, SecondHelloInsteadOfMapped) {
    const auto client = raw_client();
    ASSERT_TRUE(send_message(client.get(), bytes_of(good_hello())));
    Offer offer;
    ASSERT_EQ(answer(client.get(), offer), Arrival::kMessage);
    ASSERT_TRUE(send_message(client.get(), bytes_of(good_hello())));
    EXPECT_TRUE(is_let_go(client.get()));
}

TEST_F(LocalServer, MessageAfterTheHandshakeEndsTheConnection) {
    const auto client = raw_client();
    ASSERT_TRUE(send_message(client.get(), bytes_of(good_hello())));
    Offer offer;
    ASSERT_EQ(answer(client.get(), offer), Arrival::kMessage);
    ASSERT_TRUE(send_message(client.get(), bytes_of(Mapped{})));
    Ready ready;
    ASSERT_EQ(answer(client.get(), ready), Arrival::kMessage);
    ASSERT_NE(server_.link(), nullptr);
    ASSERT_TRUE(send_message(client.get(), bytes_of(good_hello())));
    EXPECT_TRUE(wait_until([&] { return server_.losses() == 1; }));
}

TEST_F(LocalServer, DescriptorsFromAClientAreNotTaken) {
    std::array<int, 2> open{};
    for (const bool with_descriptors : {false, true}) {
        const int before = open_descriptors();
        {
            const auto client = raw_client();
            const std::array<int, 2> descriptors{client.get(), client.get()};
            const auto sent = std::span<const int>(descriptors).first(with_descriptors ? 2 : 0);
            ASSERT_TRUE(send_message(client.get(), bytes_of(good_hello()), sent));
            Offer offer;
            ASSERT_EQ(answer(client.get(), offer), Arrival::kMessage);
            ::usleep(20'000);  // the server closes its own descriptor of the memory after having sent it
            open[with_descriptors ? 1 : 0] = open_descriptors();
        }
        ASSERT_TRUE(wait_until([&] { return open_descriptors() == before; }));
    }
    EXPECT_EQ(open[0], open[1]);
}

TEST_F(LocalServer, ClientsThatLeaveInTheMiddle) {
    const int descriptors = open_descriptors();
    const int segments = mapped_segments();
    for (int i = 0; i < 50; ++i) {
        const auto client = raw_client();
        if (i % 3 == 0) continue;
        ASSERT_TRUE(send_message(client.get(), bytes_of(good_hello())));
        Offer offer;
        if (i % 3 == 1) {
            ASSERT_EQ(answer(client.get(), offer), Arrival::kMessage);
        }
    }
    EXPECT_TRUE(wait_until([&] { return open_descriptors() == descriptors && mapped_segments() == segments; }));
}

TEST_F(LocalServer, RandomMessages) {
    std::mt19937 random(1);  // NOLINT(cert-msc51-cpp): the same every time
    for (int i = 0; i < 300; ++i) {
        const auto client = raw_client();
        std::vector<std::byte> bytes(1 + random() % (2 * sizeof(Hello)));
        for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
        // With the right beginning most get further.
        const Hello hello = good_hello();
        std::memcpy(bytes.data(), &hello, std::min<std::size_t>(bytes.size(), random() % 64));
        ASSERT_TRUE(send_message(client.get(), bytes));
        Offer offer;
        EXPECT_NE(answer(client.get(), offer), Arrival::kNothingYet);
    }
}

TEST_F(LocalServer, SilentClientIsLetGoAndDelaysNobody) {
    const auto silent = raw_client();
    EXPECT_TRUE(connects(harness_.address()));
    std::array<std::byte, 16> bytes{};
    EXPECT_EQ(receive_message(silent.get(), bytes).arrival, Arrival::kNothingYet);
    EXPECT_TRUE(wait_readable(silent.get(), base::Deadline::in(kWatchdogNs)));
    EXPECT_EQ(receive_message(silent.get(), bytes).arrival, Arrival::kEnd);
}

TEST_F(LocalServer, NoDescriptorLeftToAcceptWith) {
    auto client = std::move(*make_socket());
    const auto address = socket_address(harness_.path());
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    const int next = ::dup(client.get());  // the lowest number that is free
    ::close(next);
    rlimit none = before;
    none.rlim_cur = static_cast<rlim_t>(next);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    EXPECT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address), 0);
    timespec cpu_before{};
    timespec cpu_after{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu_before);
    ::usleep(500'000);
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu_after);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    const auto ns = [](const timespec& time) { return time.tv_sec * 1'000'000'000L + time.tv_nsec; };
    EXPECT_LT(ns(cpu_after) - ns(cpu_before), 250'000'000) << "the server spins";
    // The client that had to wait gets its turn.
    ASSERT_TRUE(send_message(client.get(), bytes_of(good_hello())));
    Offer offer;
    ASSERT_TRUE(wait_readable(client.get(), base::Deadline::in(kWatchdogNs)));
    EXPECT_EQ(answer(client.get(), offer), Arrival::kMessage);
    EXPECT_EQ(offer.status, static_cast<std::uint32_t>(VMRPC_OK));
}

// ---------------------------------------------------------------- what a server may find at its address

TEST(LocalListen, SecondServer) {
    const LocalHarness harness;
    ServerEnd server;
    auto listener = listen({harness.address(), {}, 0}, server);
    ASSERT_TRUE(listener);
    const auto error = listen_error(harness.address());
    EXPECT_EQ(error.status, VMRPC_ADDRESS_IN_USE);
    EXPECT_THAT(error.text, HasSubstr(harness.address()));
    EXPECT_TRUE(connects(harness.address()));
    listener->reset();
    EXPECT_EQ(listen_error(harness.address()).status, VMRPC_OK);
}

TEST(LocalListen, ServerOfAnotherKindIsAlive) {
    for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
        const LocalHarness harness;
        const auto socket = bound_socket(harness.path(), type);
        EXPECT_EQ(listen_error(harness.address()).status, VMRPC_ADDRESS_IN_USE);
        EXPECT_TRUE(std::filesystem::exists(harness.path()));
    }
}

TEST(LocalListen, StaleSocketFileIsReplaced) {
    for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
        const LocalHarness harness;
        bound_socket(harness.path(), type).reset();
        ASSERT_TRUE(std::filesystem::exists(harness.path()));
        ServerEnd server;
        const auto listener = listen({harness.address(), {}, 0}, server);
        ASSERT_TRUE(listener) << listener.error().text;
        EXPECT_TRUE(connects(harness.address()));
    }
}

TEST(LocalListen, FileThatIsNoSocketIsLeftAlone) {
    const LocalHarness harness;
    std::ofstream(harness.path()) << "precious";
    const auto error = listen_error(harness.address());
    EXPECT_EQ(error.status, VMRPC_ADDRESS_IN_USE);
    EXPECT_THAT(error.text, HasSubstr("no socket"));
    std::string text;
    std::ifstream(harness.path()) >> text;
    EXPECT_EQ(text, "precious");
}

TEST(LocalListen, LinkToAFileIsLeftAlone) {
    const LocalHarness harness;
    std::filesystem::create_symlink(harness.path(1), harness.path());
    EXPECT_EQ(listen_error(harness.address()).status, VMRPC_ADDRESS_IN_USE);
    EXPECT_TRUE(std::filesystem::is_symlink(harness.path()));
}

TEST(LocalListen, SocketFileIsRemovedInTheEnd) {
    const LocalHarness harness;
    ServerEnd server;
    {
        const auto listener = listen({harness.address(), {}, 0}, server);
        EXPECT_TRUE(std::filesystem::exists(harness.path()));
    }
    EXPECT_FALSE(std::filesystem::exists(harness.path()));
}

TEST(LocalListen, FileThatReplacedTheSocketIsLeftAlone) {
    const LocalHarness harness;
    ServerEnd server;
    {
        const auto listener = listen({harness.address(), {}, 0}, server);
        std::filesystem::remove(harness.path());
        std::ofstream(harness.path()) << "other";
    }
    EXPECT_TRUE(std::filesystem::exists(harness.path()));
}

TEST(LocalListen, ServersThatStartAtOnceExcludeEachOther) {
    const LocalHarness harness;
    for (int i = 0; i < 100; ++i) {
        bound_socket(harness.path(), SOCK_SEQPACKET).reset();  // stale, so that each wants to replace it
        std::array<ServerEnd, 4> servers;
        std::array<std::unique_ptr<Listener>, 4> listeners;
        std::vector<std::thread> threads;
        std::atomic<int> ready{0};
        for (std::size_t t = 0; t < servers.size(); ++t) {
            threads.emplace_back([&, t] {
                ++ready;
                while (ready < 4) std::this_thread::yield();
                auto listener = listen({harness.address(), {}, 0}, servers[t]);
                if (listener)
                    listeners[t] = std::move(*listener);
                else
                    EXPECT_EQ(listener.error().status, VMRPC_ADDRESS_IN_USE) << listener.error().text;
            });
        }
        for (std::thread& thread : threads) thread.join();
        EXPECT_EQ(std::count(listeners.begin(), listeners.end(), nullptr), 3);
        EXPECT_TRUE(connects(harness.address()));
    }
}

TEST(LocalListen, FolderThatAnotherProgramHasLocked) {
    const LocalHarness harness;
    const base::Fd folder(::open(harness.folder().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_EQ(::flock(folder.get(), LOCK_EX), 0);
    const auto error = listen_error(harness.address());
    EXPECT_EQ(error.status, VMRPC_ADDRESS_IN_USE);
    EXPECT_THAT(error.text, HasSubstr("lock"));
}

}  // namespace
}  // namespace vmrpc::transport::conformance
