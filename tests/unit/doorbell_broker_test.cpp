// The doorbell's broker with what it would hand out of a device, and clients that do not keep to the protocol.
#include "broker.hpp"
#include "proof.hpp"
#include "transport/socket.hpp"
#include "unit/doorbell_places.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

namespace vmrpc::doorbell_test {
namespace {

using namespace transport::vm;  // NOLINT(google-build-using-namespace)
using doorbell::Broker;
using doorbell::BrokerSettings;

constexpr std::int64_t kPatienceNs = 20'000'000'000;

notify::GuardedFd new_eventfd() {
    return notify::GuardedFd::made_by([] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); });
}

/// One that talks to the broker in its own words.
class RawClient {
  public:
    RawClient() : socket_(std::move(transport::make_socket(SOCK_SEQPACKET).value())) {
        const BrokerName name = broker_name(own_address());
        EXPECT_EQ(::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&name.address), name.bytes), 0);
    }
    bool try_send(std::span<const std::byte> bytes) const {
        // A full socket is no end of it.
        const auto sent = transport::send_message(socket_.get(), bytes);
        return sent || sent.error().status == VMRPC_OUT_OF_RESOURCES;
    }
    void send(std::span<const std::byte> bytes) const { EXPECT_TRUE(transport::send_message(socket_.get(), bytes)); }
    void send(BrokerRequestKind kind, std::uint32_t vector = 0) const {
        BrokerRequest request;
        request.kind = static_cast<std::uint16_t>(kind);
        request.vector = vector;
        send(transport::bytes_of(request));
    }
    /// The next answer; none: disconnected.
    bool receive() {
        if (!transport::wait_readable(socket_.get(), base::Deadline::in(kPatienceNs))) return false;
        auto received = transport::receive_message(socket_.get(), transport::writable_bytes_of(answer),
                                                   transport::Descriptors::kWanted);
        descriptor = std::move(received.descriptors[0]);
        return received.arrival == transport::Arrival::kMessage && received.bytes == sizeof answer;
    }
    bool open() {
        send(BrokerRequestKind::kOpen);
        return receive() && answer.status == VMRPC_OK && descriptor.valid();
    }
    bool is_let_go() { return !receive(); }

    BrokerAnswer answer;
    notify::GuardedFd descriptor;

  private:
    notify::GuardedFd socket_;
};

class DoorbellBroker : public testing::Test {
  protected:
    ~DoorbellBroker() override {
        const std::uint64_t one = 1;
        EXPECT_EQ(::write(stop_.get(), &one, sizeof one), 8);
        if (thread_.joinable()) thread_.join();
    }
    void start(BrokerSettings settings = {.stays = true}) {
        VfioDevice device;
        device.device = new_eventfd();
        device.registers = {.offset = 4096, .bytes = 256};
        device.memory = {.offset = 1 << 20, .bytes = 1 << 16};
        for (int i = 0; i < 4; ++i) device.interrupts.push_back(new_eventfd());
        for (const auto& interrupt : device.interrupts) interrupts_.push_back(interrupt.get());
        start(std::move(settings), std::move(device));
    }
    void start(BrokerSettings settings, base::Result<VfioDevice> device) {
        settings.address = own_address();
        settings.places = fake_.places();
        auto listener = doorbell::listen_for(own_address());
        ASSERT_TRUE(listener) << listener.error().text;
        broker_ = std::make_unique<Broker>(std::move(settings), std::move(*listener), std::move(device));
        thread_ = std::thread([this] {
            broker_->run(stop_.get());
            broker_.reset();
        });
    }

    FakePlaces fake_;
    notify::GuardedFd stop_ = new_eventfd();
    std::vector<int> interrupts_;
    std::unique_ptr<Broker> broker_;
    std::thread thread_;
};

TEST_F(DoorbellBroker, HandsOutWhatItHolds) {
    start();
    RawClient client;
    ASSERT_TRUE(client.open());
    EXPECT_EQ(client.answer.vectors, 4U);
    EXPECT_EQ(client.answer.registers_offset, 4096U);
    EXPECT_EQ(client.answer.registers_bytes, 256U);
    EXPECT_EQ(client.answer.memory_offset, 1U << 20);
    EXPECT_EQ(client.answer.memory_bytes, 1U << 16);
    for (std::uint32_t vector = 0; vector < 4; ++vector) {
        client.send(BrokerRequestKind::kVector, vector);
        ASSERT_TRUE(client.receive());
        EXPECT_EQ(client.answer.vectors, vector);
        const std::uint64_t rung = vector + 1;
        EXPECT_EQ(::write(interrupts_[vector], &rung, sizeof rung), 8);
        std::uint64_t count = 0;
        EXPECT_EQ(::read(client.descriptor.get(), &count, sizeof count), 8);
        EXPECT_EQ(count, rung);
    }
}

TEST_F(DoorbellBroker, AVectorThatIsNotThereIsRefusedAndNoMore) {
    start();
    RawClient client;
    ASSERT_TRUE(client.open());
    for (const std::uint32_t vector : {4U, 0xffff'ffffU}) {
        client.send(BrokerRequestKind::kVector, vector);
        ASSERT_TRUE(client.receive());
        EXPECT_EQ(client.answer.status, static_cast<std::uint32_t>(VMRPC_BAD_ARGUMENT));
        EXPECT_FALSE(client.descriptor.valid());
    }
    client.send(BrokerRequestKind::kVector, 3);
    EXPECT_TRUE(client.receive() && client.descriptor.valid());
}

TEST_F(DoorbellBroker, GarbageIsDisconnectedAndOthersGoOn) {
    start();
    RawClient good;
    ASSERT_TRUE(good.open());
    BrokerRequest request;
    request.kind = static_cast<std::uint16_t>(BrokerRequestKind::kOpen);
    const auto expect_let_go = [](std::span<const std::byte> bytes) {
        RawClient client;
        client.send(bytes);
        EXPECT_TRUE(client.is_let_go());
    };
    expect_let_go(transport::bytes_of(request).first(15));
    const std::vector<std::byte> long_one(5000);
    expect_let_go(long_one);
    const auto with = [&](auto change) {
        BrokerRequest changed = request;
        change(changed);
        expect_let_go(transport::bytes_of(changed));
    };
    with([](BrokerRequest& changed) { changed.magic ^= 1; });
    with([](BrokerRequest& changed) { changed.reserved = 1; });
    with([](BrokerRequest& changed) { changed.kind = 0; });
    with([](BrokerRequest& changed) { changed.kind = 3; });
    with([](BrokerRequest& changed) { changed.kind = 2; });  // a vector, before it was let in
    RawClient twice;
    ASSERT_TRUE(twice.open());
    twice.send(BrokerRequestKind::kOpen);
    EXPECT_TRUE(twice.is_let_go());
    good.send(BrokerRequestKind::kVector, 1);
    EXPECT_TRUE(good.receive() && good.descriptor.valid());
}

TEST_F(DoorbellBroker, AnotherVersionIsTold) {
    start();
    RawClient client;
    BrokerRequest request;
    request.version = 2;
    client.send(transport::bytes_of(request));
    ASSERT_TRUE(client.receive());
    EXPECT_EQ(client.answer.status, static_cast<std::uint32_t>(VMRPC_NOT_SUPPORTED));
    EXPECT_NE(std::strstr(client.answer.text.data(), "version"), nullptr);
    EXPECT_TRUE(client.is_let_go());
}

TEST_F(DoorbellBroker, WhoNeverReadsIsDisconnected) {
    start();
    RawClient greedy;
    ASSERT_TRUE(greedy.open());
    BrokerRequest request;
    request.kind = static_cast<std::uint16_t>(BrokerRequestKind::kVector);
    const auto limit = base::Deadline::in(kPatienceNs);
    // Its end is seen by sending alone, as it does not read.
    bool is_connected = true;
    while (is_connected && !limit.passed()) is_connected = greedy.try_send(transport::bytes_of(request));
    EXPECT_FALSE(is_connected);
    RawClient other;
    EXPECT_TRUE(other.open());
}

TEST_F(DoorbellBroker, WhoSaysNothingIsDisconnected) {
    start({.stays = true, .silence_ns = 20'000'000});
    RawClient good;
    ASSERT_TRUE(good.open());
    RawClient silent;
    EXPECT_TRUE(silent.is_let_go());
    good.send(BrokerRequestKind::kVector, 1);
    EXPECT_TRUE(good.receive() && good.descriptor.valid());
}

TEST_F(DoorbellBroker, EndsSomeTimeAfterItsLastClient) {
    start({.idle_ns = 20'000'000});
    {
        RawClient client;
        ASSERT_TRUE(client.open());
        ::usleep(100'000);
        client.send(BrokerRequestKind::kVector, 1);
        EXPECT_TRUE(client.receive());
    }
    thread_.join();
}

TEST_F(DoorbellBroker, EndsWithoutAnyClient) {
    start({.idle_ns = 20'000'000});
    thread_.join();
}

TEST_F(DoorbellBroker, WhatFailedIsToldToWhoeverWaits) {
    start({.idle_ns = kPatienceNs}, base::fail(VMRPC_NOT_SUPPORTED, "no IOMMU"));
    RawClient first;
    RawClient second;
    for (RawClient* client : {&first, &second}) {
        client->send(BrokerRequestKind::kOpen);
        ASSERT_TRUE(client->receive());
        EXPECT_EQ(client->answer.status, static_cast<std::uint32_t>(VMRPC_NOT_SUPPORTED));
        EXPECT_STREQ(client->answer.text.data(), "no IOMMU");
        EXPECT_FALSE(client->descriptor.valid());
    }
    thread_.join();  // long before it would for want of clients
}

TEST_F(DoorbellBroker, HasItsNameAlone) {
    start();
    const auto other = doorbell::listen_for(own_address());
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().status, VMRPC_ADDRESS_IN_USE);
}

/// Who may use the device, as another user than root and this one.
class DoorbellProof : public testing::Test {
  protected:
    DoorbellProof() { fake_.write(fake_.device("resource2"), "memory"); }
    bool passes(const std::string& path, int flags) const {
        const base::Fd proof(::open(path.c_str(), flags | O_CLOEXEC));
        EXPECT_TRUE(proof.valid()) << path;
        return passes(proof.get());
    }
    bool passes(int proof) const {
        const auto result = doorbell::check_client({.uid = 123'456}, proof, own_address(), fake_.places());
        EXPECT_TRUE(result || result.error().status == VMRPC_NOT_PERMITTED);
        return result.has_value();
    }
    FakePlaces fake_;
};

TEST_F(DoorbellProof, IsTheDevicesMemoryOpenForWriting) {
    const std::string memory = fake_.path(fake_.device("resource2"));
    EXPECT_TRUE(passes(memory, O_RDWR));
    EXPECT_FALSE(passes(memory, O_RDONLY));
    EXPECT_FALSE(passes(memory, O_WRONLY));
    EXPECT_FALSE(passes(memory, O_PATH));
    EXPECT_FALSE(passes(memory, O_PATH | O_RDWR));
}

TEST_F(DoorbellProof, IsNoOtherFile) {
    fake_.write("resource2", "memory");
    fake_.write("sys/bus/pci/devices/0000:00:01.0/resource2", "memory");
    EXPECT_FALSE(passes(-1));
    EXPECT_FALSE(passes(fake_.path("resource2"), O_RDWR));
    EXPECT_FALSE(passes(fake_.path("sys/bus/pci/devices/0000:00:01.0/resource2"), O_RDWR));
    EXPECT_FALSE(passes("/tmp", O_RDONLY));
    EXPECT_FALSE(passes("/dev/zero", O_RDWR));
    EXPECT_FALSE(passes(new_eventfd().get()));
}

TEST_F(DoorbellProof, IsADaxDevice) {
    // By its number: here that of /dev/null is called one.
    struct stat null {};
    ASSERT_EQ(::stat("/dev/null", &null), 0);
    fake_.link(fmt::format("sys/dev/char/{}:{}/subsystem", gnu_dev_major(null.st_rdev), gnu_dev_minor(null.st_rdev)),
               "../../../bus/dax");
    EXPECT_TRUE(passes("/dev/null", O_RDWR));
    EXPECT_FALSE(passes("/dev/null", O_RDONLY));
    EXPECT_FALSE(passes("/dev/zero", O_RDWR));
}

TEST_F(DoorbellProof, IsNotNeededByRootAndTheBrokersOwnUser) {
    EXPECT_TRUE(doorbell::check_client({.uid = 0}, -1, own_address(), fake_.places()));
    EXPECT_TRUE(doorbell::check_client({.uid = ::geteuid()}, -1, own_address(), fake_.places()));
}

}  // namespace
}  // namespace vmrpc::doorbell_test
