// local: what a server may be sent. After each case it must still serve.
#include "local_bad_input.hpp"

#include <sys/resource.h>

#include <array>
#include <cstring>
#include <random>
#include <vector>

namespace vmrpc::transport::conformance {
namespace {

class LocalServer : public ::testing::Test {
  protected:
    void SetUp() override {
        auto made = listen({harness_.address(), {.heap_bytes = 1}, 0}, server_);
        ASSERT_TRUE(made) << made.error().text;
        listener_ = std::move(*made);
    }
    void TearDown() override { EXPECT_TRUE(connects(harness_.address())) << "the server does not serve any more"; }

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
    void expect_let_go(std::span<const std::byte> message) const {
        const auto client = raw_client(harness_);
        ASSERT_TRUE(send_message(client.get(), message));
        EXPECT_TRUE(is_let_go(client.get()));
    }
    void expect_refused(const Hello& hello, vmrpc_status status, const std::string& text) const {
        const auto client = raw_client(harness_);
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
    expect_refused(hello, VMRPC_LAYOUT_VERSION, "2.0");
}

TEST_F(LocalServer, ShortHelloOfAnotherLayoutVersion) {
    MessageHead head{.kind = MessageKind::kHello};
    head.layout_major = 9;
    const auto client = raw_client(harness_);
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
    hello.flags = ~(kWishesHugetlb | kWishesTransparent);  // which depend on the machine
    hello.only_cpu = 1 << 30;
    hello.first_slot = ~std::uint64_t{0};
    const auto client = raw_client(harness_);
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
    const auto client = raw_client(harness_);
    ASSERT_TRUE(send_message(client.get(), bytes_of(hello)));
    Offer offer;
    ASSERT_EQ(answer(client.get(), offer), Arrival::kMessage);
    EXPECT_TRUE(in_slots(offer.server_address, offer.segment_bytes));
}

TEST_F(LocalServer, AnyAddressIsBelievedButNotAgreedOn) {
    const auto client = raw_client(harness_);
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
    const auto client = raw_client(harness_);
    ASSERT_TRUE(send_message(client.get(), bytes_of(good_hello())));
    Offer offer;
    ASSERT_EQ(answer(client.get(), offer), Arrival::kMessage);
    ASSERT_TRUE(send_message(client.get(), bytes_of(good_hello())));
    EXPECT_TRUE(is_let_go(client.get()));
}

TEST_F(LocalServer, MessageAfterTheHandshakeEndsTheConnection) {
    const auto client = raw_client(harness_);
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
            const auto client = raw_client(harness_);
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
        const auto client = raw_client(harness_);
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
        const auto client = raw_client(harness_);
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
    const auto silent = raw_client(harness_);
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
    // A few wake-ups take a hundredth of that; spinning, many times that, also on a busy machine.
    EXPECT_LT(ns(cpu_after) - ns(cpu_before), 25'000'000) << "the server spins";
    // The client that had to wait gets its turn.
    ASSERT_TRUE(send_message(client.get(), bytes_of(good_hello())));
    Offer offer;
    ASSERT_TRUE(wait_readable(client.get(), base::Deadline::in(kWatchdogNs)));
    EXPECT_EQ(answer(client.get(), offer), Arrival::kMessage);
    EXPECT_EQ(offer.status, static_cast<std::uint32_t>(VMRPC_OK));
}

}  // namespace
}  // namespace vmrpc::transport::conformance
