// What every transport has to do when links and listeners come and go. Both ends are in this process.
#pragma once

#include "transport_fixture.hpp"

#include <thread>

namespace vmrpc::transport::conformance {

template <class Harness>
class TransportLifeSuite : public TransportFixture<Harness> {};

TYPED_TEST_SUITE_P(TransportLifeSuite);

TYPED_TEST_P(TransportLifeSuite, ClientLearnsThatTheServersLinkIsGone) {
    ServerEnd server;
    ClientEnd client;
    const auto listener = this->serve(server);
    const auto link = this->join(client);
    ASSERT_TRUE(link != nullptr && server.link() != nullptr);
    std::atomic<bool> ended{false};
    std::thread waiter([&] {
        // As a caller does: looks for the loss, then waits without a limit.
        while (client.losses == 0) link->wait(rung(*link).load_acquire(), {});
        ended = true;
    });
    server.drop();
    EXPECT_TRUE(wait_until([&] { return ended.load(); }));
    waiter.join();
    EXPECT_EQ(client.losses, 1);
}

TYPED_TEST_P(TransportLifeSuite, LossEndsAWaitThatIsAboutToStart) {
    for (int i = 0; i < 200; ++i) {
        ServerEnd server;
        ClientEnd client;
        const auto listener = this->serve(server);
        const auto link = this->join(client, 0, {.heap_bytes = 1});
        ASSERT_TRUE(link != nullptr && server.link() != nullptr);
        const std::uint32_t seen = rung(*link).load_acquire();
        std::thread dropping([&] { server.drop(); });
        // A single wait, begun at any moment around the loss, with what was seen before it.
        const auto watchdog = base::Deadline::in(kWatchdogNs);
        link->wait(seen, watchdog);
        EXPECT_FALSE(watchdog.passed());
        dropping.join();
        ASSERT_FALSE(::testing::Test::HasFailure());
    }
}

TYPED_TEST_P(TransportLifeSuite, ServerLearnsOnceThatTheClientIsGone) {
    ServerEnd server;
    ClientEnd client;
    const auto listener = this->serve(server);
    auto link = this->join(client);
    auto staying = this->join(client);
    ASSERT_TRUE(link != nullptr && staying != nullptr && server.link(1) != nullptr);
    link.reset();
    EXPECT_TRUE(wait_until([&] { return server.losses(0) == 1; }));
    // The memory stays, and the other connection too.
    word(*server.link(0), layout::Side::kServer).store_release(1);
    this->expect_bytes_travel(*server.link(1), *staying);
    staying.reset();
    EXPECT_TRUE(wait_until([&] { return server.losses(1) == 1; }));
    EXPECT_EQ(server.losses(0), 1);
    EXPECT_EQ(client.losses, 0);
}

TYPED_TEST_P(TransportLifeSuite, HangUpTellsTheClientAndNotTheServer) {
    ServerEnd server;
    ClientEnd client;
    const auto listener = this->serve(server);
    auto link = this->join(client);
    ASSERT_TRUE(link != nullptr && server.link() != nullptr);
    const auto closed = static_cast<std::uint32_t>(layout::RegionState::kClosed);
    control_of(*server.link()).server.state.store_release(closed);
    server.link()->hang_up();
    server.link()->hang_up();
    EXPECT_TRUE(wait_until([&] { return client.losses == 1; }));
    EXPECT_EQ(control_of(*link).server.state.load_acquire(), closed);
    // The client is still there: its memory is in use, and the server has lost nothing.
    this->expect_bytes_travel(*server.link(), *link);
    EXPECT_EQ(server.losses(), 0);
    link.reset();
    EXPECT_TRUE(wait_until([&] { return server.losses() == 1; }));
}

TYPED_TEST_P(TransportLifeSuite, LinksOutliveTheirListener) {
    ServerEnd server;
    ClientEnd client;
    auto listener = this->serve(server);
    auto link = this->join(client);
    ASSERT_TRUE(link != nullptr && server.link() != nullptr);
    listener.reset();
    this->expect_bytes_travel(*server.link(), *link);
    const RingWatch watch(*server.link());
    link->ring();
    EXPECT_TRUE(watch.rung_within(10'000));
    EXPECT_EQ(client.losses, 0);
    EXPECT_EQ(this->try_join(client).error().status, VMRPC_NO_SERVER);
    // Its loss is no longer reported. A second server, on the same housekeeper, is told later and shows the order.
    ServerEnd later;
    const auto later_listener = this->serve(later, 1);
    auto later_link = this->join(client, 1);
    ASSERT_NE(later.link(), nullptr);
    link.reset();
    later_link.reset();
    EXPECT_TRUE(wait_until([&] { return later.losses() == 1; }));
    EXPECT_EQ(server.losses(), 0);
}

TYPED_TEST_P(TransportLifeSuite, LinkMayBeDestroyedInItsEvents) {
    ServerEnd server;
    std::atomic<int> opened{0};
    std::atomic<int> lost{0};
    std::unique_ptr<ServerLink> kept;
    server.on_opened = [&](std::unique_ptr<ServerLink> link) {
        if (opened == 1) kept = std::move(link);  // the second one; the others are dropped at once
        ++opened;
    };
    server.on_lost = [&](ServerLink* link) {
        EXPECT_EQ(link, kept.get());
        kept.reset();
        ++lost;
    };
    ClientEnd first;
    ClientEnd second;
    const auto listener = this->serve(server);
    const auto dropped = this->join(first);
    ASSERT_NE(dropped, nullptr);
    EXPECT_TRUE(wait_until([&] { return first.losses == 1; }));
    auto link = this->join(second);
    ASSERT_TRUE(wait_until([&] { return opened == 2; }));
    link.reset();
    EXPECT_TRUE(wait_until([&] { return lost == 1; }));
}

TYPED_TEST_P(TransportLifeSuite, ListenerMayBeDestroyedInItsEvent) {
    ServerEnd server;
    std::unique_ptr<Listener> listener;
    std::mutex mutex;
    std::atomic<bool> gone{false};
    std::unique_ptr<ServerLink> kept;
    server.on_opened = [&](std::unique_ptr<ServerLink> link) {
        const std::scoped_lock lock(mutex);
        kept = std::move(link);
        listener.reset();
        gone = true;
    };
    ClientEnd client;
    {
        const std::scoped_lock lock(mutex);
        listener = this->serve(server);
    }
    const auto link = this->join(client);
    ASSERT_TRUE(link != nullptr && wait_until([&] { return gone.load(); }));
    this->expect_bytes_travel(*kept, *link);
}

TYPED_TEST_P(TransportLifeSuite, ListenersComeAndGoWhileClientsConnect) {
    std::atomic<bool> stop{false};
    std::vector<std::thread> clients;
    for (int t = 0; t < 2; ++t) {
        clients.emplace_back([&] {
            while (!stop) {
                ClientEnd client;
                const auto link =
                    connect({this->harness_.address(0), {.heap_bytes = 1}, base::Deadline::in(kWatchdogNs)}, client);
                if (!link) {
                    EXPECT_TRUE(link.error().status == VMRPC_NO_SERVER || link.error().status == VMRPC_PEER_LOST)
                        << link.error().text;
                }
            }
        });
    }
    for (int i = 0; i < 100; ++i) {
        ServerEnd server;
        const auto listener = this->serve(server);
        if (i % 2 == 0) static_cast<void>(server.link());
    }
    stop = true;
    for (std::thread& thread : clients) thread.join();
}

TYPED_TEST_P(TransportLifeSuite, ConnectionsLeakNoDescriptorAndNoMapping) {
    ServerEnd server;
    ClientEnd client;
    const auto listener = this->serve(server);
    const int descriptors = open_descriptors();
    const int segments = mapped_segments();
    for (std::size_t i = 0; i < 50; ++i) {
        auto link = this->join(client);
        ASSERT_TRUE(link != nullptr && server.link(i) != nullptr);
        this->expect_bytes_travel(*server.link(i), *link);
        EXPECT_GT(open_descriptors(), descriptors);
        EXPECT_GT(mapped_segments(), segments);
        link.reset();
        ASSERT_TRUE(wait_until([&] { return server.losses(i) == 1; }));
        server.drop(i);
    }
    EXPECT_TRUE(wait_until([&] { return open_descriptors() == descriptors && mapped_segments() == segments; }))
        << open_descriptors() << " and " << mapped_segments() << ", before " << descriptors << " and " << segments;
}

REGISTER_TYPED_TEST_SUITE_P(TransportLifeSuite, ClientLearnsThatTheServersLinkIsGone, LossEndsAWaitThatIsAboutToStart,
                            ServerLearnsOnceThatTheClientIsGone, HangUpTellsTheClientAndNotTheServer,
                            LinksOutliveTheirListener, LinkMayBeDestroyedInItsEvents, ListenerMayBeDestroyedInItsEvent,
                            ListenersComeAndGoWhileClientsConnect, ConnectionsLeakNoDescriptorAndNoMapping);

}  // namespace vmrpc::transport::conformance
