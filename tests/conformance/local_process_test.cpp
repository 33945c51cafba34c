// local: between processes: the suite, and what only local: has.
#include "child.hpp"
#include "local_harness.hpp"
#include "transport/local/protocol.hpp"
#include "transport/local/socket.hpp"
#include "transport/mapping.hpp"
#include "transport_process_suite.hpp"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <thread>

namespace vmrpc::transport::conformance {

INSTANTIATE_TYPED_TEST_SUITE_P(Local, TransportProcessSuite, LocalHarness);

namespace {

using namespace local;

// Between a client of this process and a real server: hands the messages on, and before the client gets the offer,
// takes the address that it names.
class AddressTaker {
  public:
    AddressTaker(const std::string& own_path, const std::string& server_path)
        : listening_(std::move(*make_socket())), server_(std::move(*make_socket())) {
        bind_to(own_path);
        const auto address = socket_address(server_path);
        EXPECT_EQ(::connect(server_.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address), 0);
        thread_ = std::thread([this] { relay(); });
    }
    AddressTaker(const AddressTaker&) = delete;
    AddressTaker& operator=(const AddressTaker&) = delete;
    ~AddressTaker() {
        thread_.join();
        if (taken_ != MAP_FAILED) ::munmap(taken_, kMappingAlignment);
    }
    [[nodiscard]] std::uint64_t taken() const { return reinterpret_cast<std::uint64_t>(taken_); }

  private:
    void bind_to(const std::string& path) {
        const auto address = socket_address(path);
        EXPECT_EQ(::bind(listening_.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address), 0);
        EXPECT_EQ(::listen(listening_.get(), 1), 0);
    }
    void relay() {
        static_cast<void>(wait_readable(listening_.get(), base::Deadline::in(kWatchdogNs)));
        client_ = notify::GuardedFd::made_by(
            [this] { return ::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK); });
        pass(client_, server_);  // Hello
        pass(server_, client_);  // Offer
        pass(client_, server_);  // Mapped
        pass(server_, client_);  // Ready
    }
    void pass(const notify::GuardedFd& from, const notify::GuardedFd& to) {
        alignas(8) std::array<std::byte, 4096> bytes{};
        static_cast<void>(wait_readable(from.get(), base::Deadline::in(kWatchdogNs)));
        const Received got = receive_message(from.get(), bytes, Descriptors::kWanted);
        std::vector<int> descriptors;
        for (const auto& descriptor : got.descriptors)
            if (descriptor.valid()) descriptors.push_back(descriptor.get());
        if (!descriptors.empty()) take(reinterpret_cast<const Offer*>(bytes.data())->server_address);
        EXPECT_TRUE(send_message(to.get(), std::span(bytes).first(got.bytes), descriptors));
    }
    void take(std::uint64_t address) {
        taken_ = ::mmap(reinterpret_cast<void*>(address), kMappingAlignment, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    }

    notify::GuardedFd listening_;
    notify::GuardedFd server_;
    notify::GuardedFd client_;
    void* taken_ = MAP_FAILED;
    std::thread thread_;
};

TEST(LocalProcess, AddressTakenBetweenOfferAndMappingLeadsToUnequalAddresses) {
    const LocalHarness harness;
    Child child([&](const Child::Parent& parent) {
        ServerEnd server;
        const auto listener = listen({harness.address(0), {}, 0}, server);
        if (!listener) return 1;
        parent.tell();
        parent.await();
        ServerLink* link = server.link();
        if (link == nullptr || link->plan().agreed_address != 0) return 2;
        if (word(*link, layout::Side::kClient).load_acquire() != 0x1234) return 3;
        word(*link, layout::Side::kServer).store_release(0x5678);
        link->ring();
        parent.tell();
        parent.await();
        return link->peer_segment_address() == word(*link, layout::Side::kClient, 1).load_acquire() ? 0 : 4;
    });
    ASSERT_TRUE(child.await());
    const AddressTaker between(harness.path(1), harness.path(0));
    ClientEnd client;
    const auto link = connect({harness.address(1), {}, base::Deadline::in(kWatchdogNs)}, client);
    ASSERT_TRUE(link) << link.error().text;
    const std::uint64_t own_address = reinterpret_cast<std::uint64_t>((*link)->segment());
    EXPECT_EQ((*link)->peer_segment_address(), between.taken()) << "the clash did not happen";
    EXPECT_NE(own_address, between.taken());
    EXPECT_EQ((*link)->plan().agreed_address, 0U);
    word(**link, layout::Side::kClient).store_release(0x1234);
    word(**link, layout::Side::kClient, 1).store_release(own_address);
    child.tell();
    ASSERT_TRUE(child.await());
    EXPECT_EQ(word(**link, layout::Side::kServer).load_acquire(), 0x5678U);
    EXPECT_NE(rung(**link).load_acquire(), 0U);
    child.tell();
    EXPECT_EQ(child.result(), 0);
}

// Permissions are tried by a child that is no longer root.
int as_nobody(const std::function<int()>& run) {
    if (::getuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) return 98;
    return run();
}

TEST(LocalProcess, SocketThatMayNotBeWrittenIsNotPermitted) {
    const LocalHarness harness;
    ServerEnd server;
    const auto listener = listen({harness.address(), {}, 0}, server);
    ASSERT_TRUE(listener);
    ASSERT_EQ(::chmod(harness.folder().c_str(), 0755), 0);
    ASSERT_EQ(::chmod(harness.path().c_str(), 0), 0);
    Child child([&](const Child::Parent&) {
        return as_nobody([&] {
            ClientEnd client;
            const auto link = connect({harness.address(), {}, base::Deadline::in(kWatchdogNs)}, client);
            if (link || link.error().status != VMRPC_NOT_PERMITTED) return 1;
            return link.error().text.find(harness.path()) != std::string::npos ? 0 : 2;
        });
    });
    EXPECT_EQ(child.result(), 0);
}

TEST(LocalProcess, FolderThatMayNotBeWrittenIsNotPermitted) {
    for (const mode_t mode : {0555U, 0U}) {
        const LocalHarness harness;
        ASSERT_EQ(::chmod(harness.folder().c_str(), mode), 0);
        Child child([&](const Child::Parent&) {
            return as_nobody([&] {
                ServerEnd server;
                const auto listener = listen({harness.address(), {}, 0}, server);
                return !listener && listener.error().status == VMRPC_NOT_PERMITTED ? 0 : 1;
            });
        });
        EXPECT_EQ(child.result(), 0);
        ASSERT_EQ(::chmod(harness.folder().c_str(), 0700), 0);
    }
}

TEST(LocalProcess, SocketOfAKilledServerIsReplaced) {
    const LocalHarness harness;
    Child child([&](const Child::Parent& parent) {
        ServerEnd server;
        const auto listener = listen({harness.address(), {}, 0}, server);
        parent.tell();
        parent.await();
        return 0;
    });
    ASSERT_TRUE(child.await());
    ServerEnd server;
    EXPECT_EQ(listen({harness.address(), {}, 0}, server).error().status, VMRPC_ADDRESS_IN_USE);
    child.kill();
    ClientEnd client;
    EXPECT_EQ(connect({harness.address(), {}, base::Deadline::in(kWatchdogNs)}, client).error().status,
              VMRPC_NO_SERVER);
    const auto listener = listen({harness.address(), {}, 0}, server);
    ASSERT_TRUE(listener) << listener.error().text;
    EXPECT_TRUE(connect({harness.address(), {}, base::Deadline::in(kWatchdogNs)}, client));
}

}  // namespace
}  // namespace vmrpc::transport::conformance
