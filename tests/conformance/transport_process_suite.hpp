// What every transport has to do between two processes: the part of the suite that forks, and kills.
// A Harness is that of transport_suite.hpp.
#pragma once

#include "child.hpp"
#include "ends.hpp"

namespace vmrpc::transport::conformance {

template <class Harness>
class TransportProcessSuite : public ::testing::Test {
  protected:
    std::unique_ptr<Listener> serve(ServerEnd& server, const Wishes& most = {}) {
        auto listener = listen({harness_.address(0), most, 0}, server);
        EXPECT_TRUE(listener) << listener.error().text;
        return listener ? std::move(*listener) : nullptr;
    }
    /// For a child too: says on stderr what went wrong.
    std::unique_ptr<ClientLink> join(ClientEnd& client, const Wishes& wishes = {}) {
        auto link = connect({harness_.address(0), wishes, base::Deadline::in(kWatchdogNs)}, client);
        if (!link) std::fprintf(stderr, "%s\n", link.error().text.c_str());
        return link ? std::move(*link) : nullptr;
    }
    /// A child that connects, tells, and sleeps until it is told, then closes.
    auto connected_client() {
        return [this](const Child::Parent& parent) {
            ClientEnd client;
            const auto link = join(client);
            if (link == nullptr) return 1;
            word(*link, layout::Side::kClient).store_release(0x1234);
            parent.tell();
            parent.await();
            return 0;
        };
    }
    /// A child that serves one address, tells when it can be connected to, and serves until it is told to end.
    auto server_process() {
        return [this](const Child::Parent& parent) {
            ServerEnd server;
            const auto listener = serve(server);
            if (listener == nullptr) return 1;
            parent.tell();
            parent.await();
            return 0;
        };
    }

    Harness harness_;
};

TYPED_TEST_SUITE_P(TransportProcessSuite);

TYPED_TEST_P(TransportProcessSuite, PointersTravelBetweenProcesses) {
    ServerEnd server;
    const auto listener = this->serve(server);
    Child child([this](const Child::Parent& parent) {
        ClientEnd client;
        const auto link = this->join(client);
        if (link == nullptr || link->plan().agreed_address == 0) return 1;
        auto& target = word(*link, layout::Side::kClient, 1);
        target.store_relaxed(0x600d);
        word(*link, layout::Side::kClient, 0).store_release(reinterpret_cast<std::uint64_t>(&target));
        parent.tell();
        parent.await();
        return word(*link, layout::Side::kServer).load_acquire() == 0xfeed ? 0 : 2;
    });
    ASSERT_TRUE(child.await());
    ServerLink* link = server.link();
    ASSERT_NE(link, nullptr);
    EXPECT_EQ(link->plan().agreed_address, reinterpret_cast<std::uint64_t>(link->segment()));
    EXPECT_EQ(link->peer().pid, static_cast<std::uint32_t>(child.pid()));
    // A plain pointer of the client's, followed here.
    const std::uint64_t pointer = word(*link, layout::Side::kClient, 0).load_acquire();
    const auto* target = reinterpret_cast<const layout::SharedWord<std::uint64_t>*>(pointer);
    EXPECT_EQ(target, &word(*link, layout::Side::kClient, 1));
    EXPECT_EQ(target->load_relaxed(), 0x600dU);
    word(*link, layout::Side::kServer).store_release(0xfeed);
    child.tell();
    EXPECT_EQ(child.result(), 0);
}

TYPED_TEST_P(TransportProcessSuite, BytesTravelAtUnequalAddresses) {
    ServerEnd server;
    const auto listener = this->serve(server);
    Child child([this](const Child::Parent& parent) {
        ClientEnd client;
        const auto link = this->join(client, {.equal_addresses = false});
        if (link == nullptr || link->plan().agreed_address != 0) return 1;
        if (link->peer_segment_address() == reinterpret_cast<std::uint64_t>(link->segment())) return 2;
        word(*link, layout::Side::kClient).store_release(reinterpret_cast<std::uint64_t>(link->segment()));
        parent.tell();
        parent.await();
        return 0;
    });
    ASSERT_TRUE(child.await());
    ServerLink* link = server.link();
    ASSERT_NE(link, nullptr);
    EXPECT_EQ(word(*link, layout::Side::kClient).load_acquire(), link->peer_segment_address());
    EXPECT_NE(link->peer_segment_address(), reinterpret_cast<std::uint64_t>(link->segment()));
    child.tell();
    EXPECT_EQ(child.result(), 0);
}

TYPED_TEST_P(TransportProcessSuite, RingsAreNotLostBetweenProcesses) {
    using layout::Side;
    constexpr std::uint64_t rounds = 20'000;
    ServerEnd server;
    const auto listener = this->serve(server);
    Child child([this](const Child::Parent&) {
        ClientEnd client;
        const auto link = this->join(client);
        if (link == nullptr) return 1;
        const auto watchdog = base::Deadline::in(kWatchdogNs);
        for (std::uint64_t i = 1; i <= rounds; ++i) {
            word(*link, Side::kClient).store_release(i);
            link->ring();
            while (true) {
                const std::uint32_t seen = rung(*link).load_acquire();
                if (word(*link, Side::kServer).load_acquire() == i) break;
                if (watchdog.passed()) return 2;
                link->wait(seen, watchdog);
            }
        }
        return 0;
    });
    ServerLink* link = server.link();
    ASSERT_NE(link, nullptr);
    const RingWatch watch(*link);
    const auto watchdog = base::Deadline::in(kWatchdogNs);
    for (std::uint64_t i = 1; i <= rounds && !watchdog.passed(); ++i) {
        while (word(*link, Side::kClient).load_acquire() != i && !watchdog.passed())
            static_cast<void>(watch.rung_within(1'000));
        word(*link, Side::kServer).store_release(i);
        link->ring();
    }
    EXPECT_EQ(child.result(), 0);
}

TYPED_TEST_P(TransportProcessSuite, KilledClientsLeaveNothingAndDisturbNobody) {
    ServerEnd server;
    ClientEnd client;
    const auto listener = this->serve(server);
    const auto staying = this->join(client);
    ASSERT_TRUE(staying != nullptr && server.link() != nullptr);
    const int descriptors = open_descriptors();
    const int segments = mapped_segments();
    for (std::size_t i = 1; i <= 20; ++i) {
        Child child(this->connected_client());
        ASSERT_TRUE(child.await() && server.link(i) != nullptr);
        child.kill();
        ASSERT_TRUE(wait_until([&] { return server.losses(i) == 1; }));
        EXPECT_EQ(word(*server.link(i), layout::Side::kClient).load_acquire(), 0x1234U);
        server.drop(i);
    }
    EXPECT_TRUE(wait_until([&] { return open_descriptors() == descriptors && mapped_segments() == segments; }));
    EXPECT_EQ(server.losses(0), 0);
    EXPECT_EQ(client.losses, 0);
}

TYPED_TEST_P(TransportProcessSuite, KilledServerEndsAWait) {
    Child child(this->server_process());
    ASSERT_TRUE(child.await());
    ClientEnd client;
    const auto link = this->join(client);
    ASSERT_NE(link, nullptr);
    std::atomic<bool> ended{false};
    std::thread waiter([&] {
        while (client.losses == 0) link->wait(rung(*link).load_acquire(), {});
        ended = true;
    });
    child.kill();
    EXPECT_TRUE(wait_until([&] { return ended.load(); }));
    waiter.join();
    EXPECT_EQ(client.losses, 1);
    link->ring();  // rings nobody, and harms nobody
}

// A child that the client's process has forked lives on, but the connection ends with the parent's link.
TYPED_TEST_P(TransportProcessSuite, ForkedChildDoesNotKeepTheConnectionAlive) {
    ServerEnd server;
    ClientEnd client;
    const auto listener = this->serve(server);
    auto link = this->join(client);
    ASSERT_TRUE(link != nullptr && server.link() != nullptr);
    Child child([](const Child::Parent& parent) {
        parent.tell();
        parent.await();
        return 0;
    });
    ASSERT_TRUE(child.await());
    link.reset();
    EXPECT_TRUE(wait_until([&] { return server.losses() == 1; }));
    ClientEnd second_client;
    const auto second = this->join(second_client);
    ASSERT_TRUE(second != nullptr && server.link(1) != nullptr);
    Child second_child([](const Child::Parent& parent) {
        parent.tell();
        parent.await();
        return 0;
    });
    ASSERT_TRUE(second_child.await());
    server.drop(1);
    EXPECT_TRUE(wait_until([&] { return second_client.losses == 1; }));
    child.tell();
    second_child.tell();
    EXPECT_EQ(child.result(), 0);
    EXPECT_EQ(second_child.result(), 0);
}

TYPED_TEST_P(TransportProcessSuite, ForkedChildHasNoMappingAndMayConnectAnew) {
    ServerEnd server;
    ClientEnd client;
    const auto listener = this->serve(server);
    auto link = this->join(client);
    ASSERT_TRUE(link != nullptr && server.link() != nullptr);
    Child child([&](const Child::Parent& parent) {
        if (mapped_segments() != 0) return 1;
        ClientEnd own_client;
        auto own = this->join(own_client);
        if (own == nullptr) return 2;
        link.reset();  // the parent's: must neither unmap nor close what is the child's
        word(*own, layout::Side::kClient).store_release(0x1234);
        own->ring();
        parent.tell();
        parent.await();
        return own_client.losses == 0 ? 0 : 3;
    });
    ASSERT_TRUE(child.await() && server.link(1) != nullptr);
    EXPECT_EQ(word(*server.link(1), layout::Side::kClient).load_acquire(), 0x1234U);
    EXPECT_EQ(server.losses(0), 0);
    child.tell();
    EXPECT_EQ(child.result(), 0);
    EXPECT_TRUE(wait_until([&] { return server.losses(1) == 1; }));
    EXPECT_EQ(server.losses(0), 0);
    EXPECT_EQ(client.losses, 0);
}

TYPED_TEST_P(TransportProcessSuite, ForkedChildOfAServerDoesNotKeepTheAddress) {
    ServerEnd server;
    auto listener = this->serve(server);
    Child child([&](const Child::Parent& parent) {
        listener.reset();  // a copy: must not remove the parent's address
        parent.tell();
        parent.await();
        return 0;
    });
    ASSERT_TRUE(child.await());
    ClientEnd client;
    EXPECT_NE(this->join(client), nullptr);
    listener.reset();
    const auto again = this->serve(server);
    EXPECT_NE(again, nullptr);
    child.tell();
    EXPECT_EQ(child.result(), 0);
}

REGISTER_TYPED_TEST_SUITE_P(TransportProcessSuite, PointersTravelBetweenProcesses, BytesTravelAtUnequalAddresses,
                            RingsAreNotLostBetweenProcesses, KilledClientsLeaveNothingAndDisturbNobody,
                            KilledServerEndsAWait, ForkedChildDoesNotKeepTheConnectionAlive,
                            ForkedChildHasNoMappingAndMayConnectAnew, ForkedChildOfAServerDoesNotKeepTheAddress);

}  // namespace vmrpc::transport::conformance
