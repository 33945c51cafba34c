// What every transport has to do, written once. Both ends are in this process; what needs two is in
// transport_process_suite.hpp.
//
// A transport brings a Harness: default-constructible, with
//     std::string address(int server);   the address of one of several servers, for both sides
#pragma once

#include "ends.hpp"

#include <thread>

namespace vmrpc::transport::conformance {

template <class Harness>
class TransportSuite : public ::testing::Test {
  protected:
    std::unique_ptr<Listener> serve(ServerEnd& server, int number = 0, const Wishes& most = {},
                                    std::uint32_t max_connections = 0) {
        auto listener = listen({harness_.address(number), most, max_connections}, server);
        EXPECT_TRUE(listener) << listener.error().text;
        return listener ? std::move(*listener) : nullptr;
    }
    base::Result<std::unique_ptr<ClientLink>> try_join(ClientEnd& client, int number = 0, const Wishes& wishes = {}) {
        return connect({harness_.address(number), wishes, base::Deadline::in(kWatchdogNs)}, client);
    }
    std::unique_ptr<ClientLink> join(ClientEnd& client, int number = 0, const Wishes& wishes = {}) {
        auto link = try_join(client, number, wishes);
        EXPECT_TRUE(link) << link.error().text;
        return link ? std::move(*link) : nullptr;
    }
    static void expect_bytes_travel(const Link& server, const Link& client) {
        using layout::Side;
        word(client, Side::kClient).store_release(0x1122'3344);
        EXPECT_EQ(word(server, Side::kClient).load_acquire(), 0x1122'3344U);
        word(server, Side::kServer).store_release(0x5566'7788);
        EXPECT_EQ(word(client, Side::kServer).load_acquire(), 0x5566'7788U);
    }

    Harness harness_;
};

TYPED_TEST_SUITE_P(TransportSuite);

TYPED_TEST_P(TransportSuite, BothSidesSeeEachOthersBytes) {
    ServerEnd server;
    ClientEnd client;
    const auto listener = this->serve(server);
    const auto link = this->join(client);
    ASSERT_TRUE(link != nullptr && server.link() != nullptr);
    this->expect_bytes_travel(*server.link(), *link);
    EXPECT_EQ(link->plan().agreed_address, reinterpret_cast<std::uint64_t>(link->segment()));
    EXPECT_EQ(link->peer_segment_address(), reinterpret_cast<std::uint64_t>(server.link()->segment()));
    EXPECT_EQ(server.link()->peer_segment_address(), reinterpret_cast<std::uint64_t>(link->segment()));
    EXPECT_EQ(std::memcmp(&link->plan(), &server.link()->plan(), sizeof(layout::RegionPlan)), 0);
    EXPECT_EQ(server.link()->peer().uid, ::getuid());
}

TYPED_TEST_P(TransportSuite, RegionIsOpenAndNotRungWhenReady) {
    ServerEnd server;
    ClientEnd client;
    const auto listener = this->serve(server);
    const auto link = this->join(client);
    ASSERT_NE(link, nullptr);
    const auto open = static_cast<std::uint32_t>(layout::RegionState::kOpen);
    EXPECT_EQ(control_of(*link).server.state.load_acquire(), open);
    EXPECT_EQ(control_of(*link).client.state.load_acquire(), open);
    EXPECT_EQ(rung(*link).load_acquire(), 0U);
}

TYPED_TEST_P(TransportSuite, RingWakesASleepingClient) {
    ServerEnd server;
    ClientEnd client;
    const auto listener = this->serve(server);
    const auto link = this->join(client);
    ASSERT_TRUE(link != nullptr && server.link() != nullptr);
    const std::uint32_t seen = rung(*link).load_acquire();
    std::atomic<bool> woken{false};
    std::thread waiter([&] {
        while (rung(*link).load_acquire() == seen) link->wait(seen, {});
        woken = true;
    });
    ::usleep(20'000);  // most likely it sleeps by now
    EXPECT_FALSE(woken);
    server.link()->ring();
    EXPECT_TRUE(wait_until([&] { return woken.load(); }));
    waiter.join();
}

TYPED_TEST_P(TransportSuite, WaitEndsAtItsDeadline) {
    ServerEnd server;
    ClientEnd client;
    const auto listener = this->serve(server);
    const auto link = this->join(client);
    ASSERT_NE(link, nullptr);
    const auto deadline = base::Deadline::in(20'000'000);
    while (!deadline.passed()) link->wait(rung(*link).load_acquire(), deadline);
}

TYPED_TEST_P(TransportSuite, RingMakesTheServersDescriptorReadableEachTime) {
    ServerEnd server;
    ClientEnd client;
    const auto listener = this->serve(server);
    const auto link = this->join(client);
    ASSERT_TRUE(link != nullptr && server.link() != nullptr);
    const RingWatch watch(*server.link());
    EXPECT_FALSE(watch.rung_within(0));
    for (int i = 0; i < 3; ++i) {
        link->ring();
        EXPECT_TRUE(watch.rung_within(10'000));
        EXPECT_FALSE(watch.rung_within(0));
    }
}

// Each side looks, sleeps if there is nothing, and is rung after the other has published: a lost ring hangs both.
TYPED_TEST_P(TransportSuite, RingsAreNotLost) {
    using layout::Side;
    constexpr std::uint64_t rounds = 20'000;
    ServerEnd server;
    ClientEnd client;
    const auto listener = this->serve(server);
    const auto link = this->join(client);
    ASSERT_TRUE(link != nullptr && server.link() != nullptr);
    const auto watchdog = base::Deadline::in(2 * kWatchdogNs);
    ServerLink& other = *server.link();
    std::thread echo([&] {
        const RingWatch watch(other);
        for (std::uint64_t i = 1; i <= rounds && !watchdog.passed(); ++i) {
            while (word(other, Side::kClient).load_acquire() != i && !watchdog.passed())
                static_cast<void>(watch.rung_within(10'000));
            word(other, Side::kServer).store_release(i);
            other.ring();
        }
    });
    std::uint64_t done = 0;
    while (done < rounds && !watchdog.passed()) {
        word(*link, Side::kClient).store_release(done + 1);
        link->ring();
        while (!watchdog.passed()) {
            const std::uint32_t seen = rung(*link).load_acquire();
            if (word(*link, Side::kServer).load_acquire() == done + 1) break;
            link->wait(seen, watchdog);
        }
        ++done;
    }
    echo.join();
    EXPECT_FALSE(watchdog.passed()) << "after " << done << " rounds";
    EXPECT_EQ(done, rounds);
}

// Interrupted at any moment between looking and sleeping.
TYPED_TEST_P(TransportSuite, InterruptEndsAWaitThatRunsOrIsAboutToStart) {
    constexpr int rounds = 20'000;
    ServerEnd server;
    ClientEnd client;
    const auto listener = this->serve(server);
    const auto link = this->join(client);
    ASSERT_NE(link, nullptr);
    std::atomic<int> looked{0};
    std::atomic<int> returned{0};
    std::thread waiter([&] {
        for (int i = 1; i <= rounds; ++i) {
            const std::uint32_t seen = rung(*link).load_acquire();
            looked = i;
            link->wait(seen, {});
            returned = i;
        }
    });
    const auto watchdog = base::Deadline::in(2 * kWatchdogNs);
    for (int i = 1; i <= rounds && !watchdog.passed(); ++i) {
        while (looked < i && !watchdog.passed()) std::this_thread::yield();
        link->interrupt_wait();
        while (returned < i && !watchdog.passed()) std::this_thread::yield();
    }
    const int ended = returned;
    while (returned < rounds) link->interrupt_wait();  // whatever was found, the thread must end
    waiter.join();
    EXPECT_EQ(ended, rounds);
}

TYPED_TEST_P(TransportSuite, InterruptDoesNotHideARing) {
    ServerEnd server;
    ClientEnd client;
    const auto listener = this->serve(server);
    const auto link = this->join(client);
    ASSERT_TRUE(link != nullptr && server.link() != nullptr);
    for (int i = 0; i < 1'000; ++i) {
        const std::uint32_t seen = rung(*link).load_acquire();
        std::thread ringing([&] { server.link()->ring(); });
        link->interrupt_wait();
        ringing.join();
        ASSERT_NE(rung(*link).load_acquire(), seen);
    }
}

TYPED_TEST_P(TransportSuite, ClientLearnsThatTheServersLinkIsGone) {
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

TYPED_TEST_P(TransportSuite, LossEndsAWaitThatIsAboutToStart) {
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

TYPED_TEST_P(TransportSuite, ServerLearnsOnceThatTheClientIsGone) {
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

TYPED_TEST_P(TransportSuite, HangUpTellsTheClientAndNotTheServer) {
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

TYPED_TEST_P(TransportSuite, LinksOutliveTheirListener) {
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

TYPED_TEST_P(TransportSuite, LinkMayBeDestroyedInItsEvents) {
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

TYPED_TEST_P(TransportSuite, ListenerMayBeDestroyedInItsEvent) {
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

TYPED_TEST_P(TransportSuite, ListenersComeAndGoWhileClientsConnect) {
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

TYPED_TEST_P(TransportSuite, TwoServersBehindOneClient) {
    ServerEnd first_server;
    ServerEnd second_server;
    ClientEnd client;
    const auto first_listener = this->serve(first_server, 1);
    const auto second_listener = this->serve(second_server, 2);
    const auto first = this->join(client, 1);
    const auto second = this->join(client, 2);
    ASSERT_TRUE(first && second && first_server.link() && second_server.link());
    EXPECT_NE(first->segment(), second->segment());
    EXPECT_NE(first->plan().agreed_address, 0U);
    EXPECT_NE(second->plan().agreed_address, 0U);
    this->expect_bytes_travel(*first_server.link(), *first);
    EXPECT_EQ(word(*second, layout::Side::kServer).load_acquire(), 0U);
    this->expect_bytes_travel(*second_server.link(), *second);
}

TYPED_TEST_P(TransportSuite, UnequalAddressesCanBeForcedByEitherSide) {
    for (const bool by_server : {false, true}) {
        ServerEnd server;
        ClientEnd client;
        const auto listener = this->serve(server, 0, {.equal_addresses = !by_server});
        const auto link = this->join(client, 0, {.equal_addresses = by_server});
        ASSERT_TRUE(link != nullptr && server.link() != nullptr);
        EXPECT_EQ(link->plan().agreed_address, 0U);
        EXPECT_EQ(server.link()->plan().agreed_address, 0U);
        EXPECT_NE(link->segment(), server.link()->segment());
        EXPECT_EQ(link->peer_segment_address(), reinterpret_cast<std::uint64_t>(server.link()->segment()));
        EXPECT_EQ(server.link()->peer_segment_address(), reinterpret_cast<std::uint64_t>(link->segment()));
        this->expect_bytes_travel(*server.link(), *link);
    }
}

TYPED_TEST_P(TransportSuite, SmallerWishWins) {
    constexpr std::uint64_t mib = 1024 * 1024;
    ServerEnd server;
    ClientEnd client;
    const auto listener = this->serve(server, 0, {.heap_bytes = 64 * mib, .lane_count = 8});
    const auto small = this->join(client, 0, {.heap_bytes = 16 * mib, .lane_count = 4});
    const auto large = this->join(client, 0, {.heap_bytes = 256 * mib, .lane_count = 64});
    const auto none = this->join(client, 0, {.heap_bytes = 1, .lane_count = 0});
    ASSERT_TRUE(small && large && none);
    EXPECT_EQ(small->plan().arena_bytes, 8 * mib);
    EXPECT_EQ(small->plan().lane_count, 4U);
    EXPECT_EQ(large->plan().arena_bytes, 32 * mib);
    EXPECT_EQ(large->plan().lane_count, 8U);
    EXPECT_EQ(none->plan().arena_bytes, layout::kMinArenaBytes);
    EXPECT_EQ(none->plan().lane_count, 1U);
}

TYPED_TEST_P(TransportSuite, TrustTakesBoth) {
    for (int both = 0; both < 4; ++both) {
        const bool server_trusts = (both & 1) != 0;
        const bool client_trusts = (both & 2) != 0;
        ServerEnd server;
        ClientEnd client;
        const auto listener = this->serve(server, 0, {.trust_peer = server_trusts});
        const auto link = this->join(client, 0, {.trust_peer = client_trusts});
        ASSERT_NE(link, nullptr);
        EXPECT_EQ((link->plan().flags & layout::kRegionTrusted) != 0, both == 3);
    }
}

TYPED_TEST_P(TransportSuite, NoMoreConnectionsThanTheServerTakes) {
    ServerEnd server;
    ClientEnd client;
    const auto listener = this->serve(server, 0, {}, 2);
    auto first = this->join(client);
    const auto second = this->join(client);
    const auto third = this->try_join(client);
    ASSERT_FALSE(third);
    EXPECT_EQ(third.error().status, VMRPC_OUT_OF_RESOURCES);
    EXPECT_NE(third.error().text.find("2 connections"), std::string::npos) << third.error().text;
    first.reset();
    ASSERT_TRUE(wait_until([&] { return server.losses(0) == 1; }));
    EXPECT_FALSE(this->try_join(client)) << "the server has not let go yet";
    server.drop();
    EXPECT_TRUE(this->join(client));
}

TYPED_TEST_P(TransportSuite, ConnectionsLeakNoDescriptorAndNoMapping) {
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

REGISTER_TYPED_TEST_SUITE_P(TransportSuite, BothSidesSeeEachOthersBytes, RegionIsOpenAndNotRungWhenReady,
                            RingWakesASleepingClient, WaitEndsAtItsDeadline,
                            RingMakesTheServersDescriptorReadableEachTime, RingsAreNotLost,
                            InterruptEndsAWaitThatRunsOrIsAboutToStart, InterruptDoesNotHideARing,
                            ClientLearnsThatTheServersLinkIsGone, LossEndsAWaitThatIsAboutToStart,
                            ServerLearnsOnceThatTheClientIsGone, HangUpTellsTheClientAndNotTheServer,
                            LinksOutliveTheirListener, LinkMayBeDestroyedInItsEvents, ListenerMayBeDestroyedInItsEvent,
                            ListenersComeAndGoWhileClientsConnect, TwoServersBehindOneClient,
                            UnequalAddressesCanBeForcedByEitherSide, SmallerWishWins, TrustTakesBoth,
                            NoMoreConnectionsThanTheServerTakes, ConnectionsLeakNoDescriptorAndNoMapping);

}  // namespace vmrpc::transport::conformance
