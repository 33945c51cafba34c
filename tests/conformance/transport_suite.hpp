// What every transport has to do, written once: bytes, rings, waits, wishes. Both ends are in this process; ends of
// connections are in transport_life_suite.hpp, what needs two processes in transport_process_suite.hpp.
#pragma once

#include "transport_fixture.hpp"

#include <thread>

namespace vmrpc::transport::conformance {

template <class Harness>
class TransportSuite : public TransportFixture<Harness> {};

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

// Interrupted between looking and sleeping: in every second round surely, in the others at any moment.
TYPED_TEST_P(TransportSuite, InterruptEndsAWaitThatRunsOrIsAboutToStart) {
    constexpr int rounds = 4'000;
    ServerEnd server;
    ClientEnd client;
    const auto listener = this->serve(server);
    const auto link = this->join(client);
    ASSERT_NE(link, nullptr);
    std::atomic<int> looked{0};
    std::atomic<int> interrupted{0};
    std::atomic<int> returned{0};
    std::thread waiter([&] {
        for (int i = 1; i <= rounds; ++i) {
            const std::uint32_t seen = rung(*link).load_acquire();
            looked = i;
            while (i % 2 == 0 && interrupted < i) std::this_thread::yield();
            for (int spin = 0; spin < i % 64; ++spin) base::cpu_pause();
            link->wait(seen, {});
            returned = i;
        }
    });
    const auto watchdog = base::Deadline::in(kWatchdogNs);
    for (int i = 1; i <= rounds && !watchdog.passed(); ++i) {
        while (looked < i && !watchdog.passed()) std::this_thread::yield();
        link->interrupt_wait();
        interrupted = i;
        while (returned < i && !watchdog.passed()) std::this_thread::yield();
    }
    const int ended = returned;
    interrupted = rounds;
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

REGISTER_TYPED_TEST_SUITE_P(TransportSuite, BothSidesSeeEachOthersBytes, RegionIsOpenAndNotRungWhenReady,
                            RingWakesASleepingClient, WaitEndsAtItsDeadline,
                            RingMakesTheServersDescriptorReadableEachTime, RingsAreNotLost,
                            InterruptEndsAWaitThatRunsOrIsAboutToStart, InterruptDoesNotHideARing,
                            TwoServersBehindOneClient, UnequalAddressesCanBeForcedByEitherSide, SmallerWishWins,
                            TrustTakesBoth, NoMoreConnectionsThanTheServerTakes);

}  // namespace vmrpc::transport::conformance
