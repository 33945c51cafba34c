// A server in a loop of the user's own, and its end: poll(), descriptor(), stop().
#include "unit/raw_client.hpp"
#include "unit/serving.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <poll.h>
#include <sys/epoll.h>

#include <optional>

namespace serving {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr auto kStop = vmrpc::named<"test.stop", std::uint64_t()>;
constexpr auto kPollInside = vmrpc::named<"test.poll_inside", std::uint32_t()>;

/// Serves with poll() and epoll, as the header says, until the server is stopped. Counts how often it goes to sleep.
void serve_with_epoll(vmrpc::Server& server, std::uint32_t events, std::atomic<int>& sleeps) {
    const vmrpc::base::Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{.events = events, .data = {.ptr = nullptr}};
    EXPECT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, server.descriptor(), &event), 0);
    for (;;) {
        auto taken = server.poll();
        while (taken && *taken != 0) taken = server.poll();
        if (!taken) {
            EXPECT_EQ(taken.error().status, VMRPC_SHUTTING_DOWN) << taken.error().message();
            return;
        }
        ++sleeps;
        if (::epoll_wait(epoll.get(), &event, 1, 30'000) == 0) ADD_FAILURE() << "a wake-up was lost";
    }
}

TEST(Poll, LosesNoWakeUp) {
    for (const std::uint32_t events : {std::uint32_t{EPOLLIN}, std::uint32_t{EPOLLIN} | EPOLLET}) {
        Server server;
        std::atomic<int> sleeps{0};
        std::thread thread([&] { serve_with_epoll(server.server, events, sleeps); });
        {
            const auto first = server.connect();
            const auto second = server.connect();
            for (std::uint64_t i = 0; i < 4'000; ++i) {
                const int before = sleeps;
                ASSERT_EQ(first.call<kHere>(i).value(), i);
                if (i % 7 == 0) {
                    ASSERT_EQ(second.call<kNote>(i).value(), i);
                }
                if (i % 1'000 == 0) {
                    ASSERT_EQ(server.connect().call<kHere>(i).value(), i) << "a connection comes and goes";
                }
                // Every other call finds it asleep, or about to be.
                while (i % 2 == 0 && sleeps == before) std::this_thread::yield();
            }
        }
        server.server.stop();
        thread.join();
        EXPECT_GE(sleeps, 2'000);
    }
}

TEST(Poll, LosesNoWakeUpOfManyThreads) {
    Server server;
    std::atomic<int> sleeps{0};
    std::thread thread([&] { serve_with_epoll(server.server, EPOLLIN, sleeps); });
    std::vector<std::thread> callers;
    for (int i = 0; i < 4; ++i) {
        callers.emplace_back([&] {
            const auto client = server.connect({.spin = std::chrono::nanoseconds(VMRPC_SPIN_NEVER)});
            for (std::uint64_t call = 0; call < 500; ++call) {
                ASSERT_EQ(client.call<kHere>(call).value(), call);
                ASSERT_EQ(client.call<kNote>(call).value(), call);
            }
        });
    }
    for (std::thread& caller : callers) caller.join();
    server.server.stop();
    thread.join();
}

TEST(Poll, TakesWhatIsThereAndDoesNotWait) {
    Server server;
    pollfd readable{.fd = server.server.descriptor(), .events = POLLIN, .revents = 0};
    ASSERT_GE(readable.fd, 0);
    EXPECT_EQ(server.server.poll().value(), 0U);
    EXPECT_EQ(::poll(&readable, 1, 0), 0) << "nothing to do";
    RawClient client(server.address());
    ASSERT_EQ(::poll(&readable, 1, 30'000), 1) << "the connection";
    while (server.server.poll().value() != 0) {
    }
    std::vector<RawClient::Slot> posted;
    for (std::uint64_t i = 0; i < 10; ++i) posted.push_back(client.post(kHereIndex, i));
    ASSERT_EQ(::poll(&readable, 1, 30'000), 1);
    EXPECT_EQ(server.server.poll().value(), 10U);
    for (std::uint64_t i = 0; i < 10; ++i) EXPECT_EQ(client.value(posted[i]), i);
    while (server.server.poll().value() != 0) {
    }
    EXPECT_EQ(::poll(&readable, 1, 0), 0);
}

// It did not ring: nobody had asked for that yet.
TEST(Poll, TakesWhatWasPostedBeforeItKnewOfTheConnection) {
    Server server;
    pollfd readable{.fd = server.server.descriptor(), .events = POLLIN, .revents = 0};
    RawClient client(server.address());
    const auto posted = client.post(kHereIndex, 7);
    ASSERT_EQ(::poll(&readable, 1, 30'000), 1) << "the connection";
    EXPECT_EQ(server.server.poll().value(), 1U);
    EXPECT_EQ(client.value(posted), 7U);
}

TEST(Poll, AsksNewConnectionsToRing) {
    Server server;
    pollfd readable{.fd = server.server.descriptor(), .events = POLLIN, .revents = 0};
    RawClient client(server.address());
    ASSERT_EQ(::poll(&readable, 1, 30'000), 1) << "the connection";
    EXPECT_EQ(server.server.poll().value(), 0U);
    EXPECT_EQ(::poll(&readable, 1, 0), 0);
    const auto posted = client.post(kHereIndex, 7);
    EXPECT_EQ(::poll(&readable, 1, 30'000), 1);
    EXPECT_EQ(server.server.poll().value(), 1U);
    EXPECT_EQ(client.value(posted), 7U);
}

TEST(Poll, RefusesWhatCannotBe) {
    Server server;
    EXPECT_TRUE(
        server.server.add<kPollInside>([&] { return static_cast<std::uint32_t>(status_of(server.server.poll())); }));
    ASSERT_EQ(server.server.poll().value(), 0U);
    const auto late = server.server.add<kStop>([] { return std::uint64_t{0}; });
    EXPECT_EQ(status_of(late), VMRPC_BAD_ARGUMENT);
    EXPECT_THAT(late.error().text, HasSubstr("before"));
    vmrpc::test::TempFolder folder;
    vmrpc::Server running(folder.address());
    EXPECT_TRUE(running.add<kPollInside>([&] { return static_cast<std::uint32_t>(status_of(running.poll())); }));
    std::thread thread([&] { EXPECT_TRUE(running.run()); });
    {
        const auto client = vmrpc::Client::connect(folder.address()).value();
        EXPECT_EQ(client.call<kPollInside>().value(), VMRPC_BAD_ARGUMENT) << "in a call";
        EXPECT_EQ(status_of(running.poll()), VMRPC_BAD_ARGUMENT) << "beside run()";
    }
    running.stop();
    thread.join();
    EXPECT_EQ(vmrpc_impl_descriptor(nullptr), -1);
    EXPECT_EQ(vmrpc_impl_poll(nullptr, nullptr), VMRPC_BAD_ARGUMENT);
}

TEST(Poll, EndsWhenStoppedAndServesAnew) {
    Server server;
    server.server.stop();
    EXPECT_EQ(status_of(server.server.poll()), VMRPC_SHUTTING_DOWN);
    EXPECT_EQ(server.server.poll().value(), 0U) << "the stop was carried out";
    RawClient client(server.address());
    const auto held = client.post_empty(kHoldIndex);
    while (server.gate.inside() == 0) ASSERT_TRUE(server.server.poll());
    server.server.stop();
    const auto refused = client.post(kHereIndex, 1);
    while (!client.is_answered(refused)) ASSERT_TRUE(server.server.poll());
    EXPECT_EQ(client.status(refused), VMRPC_SHUTTING_DOWN);
    ASSERT_TRUE(server.server.poll()) << "the held call is not answered yet";
    pollfd readable{.fd = server.server.descriptor(), .events = POLLIN, .revents = 0};
    while (server.server.poll().value() != 0) {
    }
    server.gate.open();
    ASSERT_EQ(::poll(&readable, 1, 30'000), 1) << "its end makes the descriptor readable";
    EXPECT_TRUE(soon([&] { return status_of(server.server.poll()) == VMRPC_SHUTTING_DOWN; }));
    EXPECT_EQ(client.status(held), VMRPC_OK);
}

TEST(Stop, AnswersWhatItHasTakenAndTurnsTheRestAway) {
    Server server({.workers = 1});
    server.start();
    RawClient client(server.address());
    const auto held = client.post_empty(kHoldIndex);
    const auto queued = client.post(kNoteIndex, 1);
    ASSERT_TRUE(server.gate.holds(1));
    ASSERT_EQ(client.value(client.post(kHereIndex, 5)), 5U);
    server.server.stop();
    // Which of them is the first to come after the stop is the server's to say.
    EXPECT_TRUE(soon([&] { return client.status(client.post(kHereIndex, 6)) == VMRPC_SHUTTING_DOWN; }));
    EXPECT_EQ(client.status(client.post(kNoteIndex, 7)), VMRPC_SHUTTING_DOWN);
    const auto error = server.connect().call<kHere>(8U).error();
    EXPECT_EQ(error.status, VMRPC_SHUTTING_DOWN) << "a new client is told so, too";
    EXPECT_EQ(error.remedy(), vmrpc::Remedy::kRetryLater);
    EXPECT_FALSE(server.has_returned);
    server.gate.open();
    server.join();
    EXPECT_EQ(client.status(held), VMRPC_OK);
    EXPECT_EQ(client.value(queued), 1U);
    EXPECT_THAT(server.log.all(), testing::ElementsAre(1U));
}

TEST(Stop, TheSecondTimeWaitsForNothing) {
    Server server({.workers = 1});
    server.start();
    RawClient client(server.address());
    const auto held = client.post_empty(kHoldIndex);
    const auto queued = client.post(kNoteIndex, 1);
    ASSERT_TRUE(server.gate.holds(1));
    ASSERT_EQ(client.value(client.post(kHereIndex, 5)), 5U);
    server.server.stop();
    server.server.stop();
    server.join();
    EXPECT_EQ(client.status(queued), VMRPC_SHUTTING_DOWN);
    EXPECT_FALSE(client.is_answered(held));
    server.gate.open();
    EXPECT_EQ(client.status(held), VMRPC_OK) << "it runs on, and is answered";
    EXPECT_TRUE(server.log.all().empty());
}

TEST(Stop, WaitsNoLongerThanItsLimit) {
    Server server({.workers = 1, .drain_limit = milliseconds(20)});
    server.start();
    RawClient client(server.address());
    const auto held = client.post_empty(kHoldIndex);
    ASSERT_TRUE(server.gate.holds(1));
    server.server.stop();
    server.join();
    EXPECT_FALSE(client.is_answered(held));
    server.gate.open();
    EXPECT_EQ(client.status(held), VMRPC_OK);
}

TEST(Stop, WithinACall) {
    for (const bool pooled : {false, true}) {
        Server server;
        EXPECT_TRUE(server.server.add<kStop>(
            [&] {
                server.server.stop();
                return std::uint64_t{42};
            },
            {.pooled = pooled}));
        server.start();
        const auto client = server.connect();
        EXPECT_EQ(client.call<kStop>().value(), 42U);
        server.join();
        EXPECT_TRUE(server.has_returned);
    }
}

TEST(Stop, LetsItRunAgain) {
    Server server;
    const auto client = server.connect();
    for (std::uint64_t i = 0; i < 5; ++i) {
        server.start();
        EXPECT_EQ(client.call<kNote>(i).value(), i);
        EXPECT_EQ(client.call<kHere>(i).value(), i);
        server.join(true);
    }
}

TEST(Stop, ClosingCancelsWhatRuns) {
    std::optional<Server> server(std::in_place, vmrpc::ServeOptions{.workers = 1});
    constexpr auto kUntilCancelled = vmrpc::named<"test.until_cancelled", void()>;
    std::atomic<bool> runs{false};
    std::atomic<bool> seen{false};
    EXPECT_TRUE(server->server.add<kUntilCancelled>(
        [&] {
            runs = true;
            seen = soon([] { return vmrpc::Caller::cancelled(); });
        },
        {.pooled = true}));
    server->start();
    const auto client = server->connect();
    Caller call([&] { return status_of(client.call<kUntilCancelled>()); });
    ASSERT_TRUE(soon([&] { return runs.load(); }));
    server->server.stop();
    server->server.stop();
    server->join();
    server.reset();  // waits for the function
    EXPECT_TRUE(seen);
    EXPECT_EQ(call.ended(), VMRPC_OK);
}

}  // namespace
}  // namespace serving
