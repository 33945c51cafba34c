#include "notify/housekeeper.hpp"

#include "base/clock.hpp"
#include "base/cpu.hpp"
#include "base/fd.hpp"

#include <gtest/gtest.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace vmrpc::notify {
namespace {

constexpr std::int64_t kWatchdogNs = 20'000'000'000;
constexpr std::int64_t kMs = 1'000'000;

bool wait_until(const std::function<bool()>& done) {
    const auto deadline = base::Deadline::in(kWatchdogNs);
    while (!done()) {
        if (deadline.passed()) return false;
        ::usleep(500);
    }
    return true;
}

// Lines "Name" and "SigBlk" of every housekeeping thread.
std::vector<std::uint64_t> blocked_signals_of_housekeepers() {
    std::vector<std::uint64_t> found;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
        std::ifstream status(task.path() / "status");
        bool is_ours = false;
        for (std::string line; std::getline(status, line);) {
            if (line == "Name:\tvmrpc") is_ours = true;
            if (is_ours && line.starts_with("SigBlk:")) found.push_back(std::stoull(line.substr(7), nullptr, 16));
        }
    }
    return found;
}

class Bell {
  public:
    void ring() const {
        const std::uint64_t one = 1;
        ASSERT_EQ(::write(fd_.get(), &one, sizeof one), 8);
    }
    [[nodiscard]] int fd() const { return fd_.get(); }

  private:
    base::Fd fd_{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
};

// Returns after every callback that was due before the call has run.
void let_housekeeper_pass() {
    const Bell bell;
    std::atomic<bool> passed{false};
    const auto watch = notify::watch(bell.fd(), EPOLLIN | EPOLLONESHOT, [&](std::uint32_t) { passed = true; });
    ASSERT_TRUE(watch);
    bell.ring();
    ASSERT_TRUE(wait_until([&] { return passed.load(); }));
}

TEST(Housekeeper, CallsWhenDescriptorIsReady) {
    const Bell bell;
    std::atomic<std::uint32_t> happened{0};
    std::atomic<bool> on_thread{false};
    const auto watch = notify::watch(bell.fd(), EPOLLIN | EPOLLET, [&](std::uint32_t events) {
        on_thread = on_housekeeping_thread();
        happened = events;
    });
    ASSERT_TRUE(watch) << watch.error().text;
    let_housekeeper_pass();
    EXPECT_EQ(happened, 0U);
    bell.ring();
    EXPECT_TRUE(wait_until([&] { return happened == EPOLLIN; }));
    EXPECT_TRUE(on_thread);
    EXPECT_FALSE(on_housekeeping_thread());
}

TEST(Housekeeper, TimersRunOnceInTheOrderOfTheirTimes) {
    std::vector<int> order;
    std::atomic<int> count{0};
    const auto note = [&](int number) {
        return [&, number] {
            order.push_back(number);
            ++count;
        };
    };
    const auto much_later = after(kWatchdogNs, note(4));
    const auto first = after(10 * kMs, note(1));
    const auto second = after(11 * kMs, note(2));
    const auto third = after(12 * kMs, note(3));
    ASSERT_TRUE(much_later && first && second && third);
    ASSERT_TRUE(wait_until([&] { return count == 3; }));
    let_housekeeper_pass();
    EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST(Housekeeper, TimerDoesNotRunEarly) {
    const std::int64_t due = base::now_ns() + 30 * kMs;
    std::atomic<std::int64_t> ran{0};
    const auto timer = after(30 * kMs, [&] { ran = base::now_ns(); });
    ASSERT_TRUE(wait_until([&] { return ran != 0; }));
    EXPECT_GE(ran, due);
}

TEST(Housekeeper, DestroyedWatchIsNotCalled) {
    const Bell bell;
    std::atomic<int> calls{0};
    {
        const auto watch = notify::watch(bell.fd(), EPOLLIN, [&](std::uint32_t) { ++calls; });
        const auto timer = after(1, [&] { ++calls; });
        ASSERT_TRUE(wait_until([&] { return calls > 0; }));
    }
    const int before = calls;
    bell.ring();
    let_housekeeper_pass();
    EXPECT_EQ(calls, before);
}

TEST(Housekeeper, DestructionWaitsForTheRunningCallbackAndFreesWhatItCaptured) {
    const Bell bell;
    std::atomic<bool> entered{false};
    std::atomic<bool> finished{false};
    auto captured = std::make_shared<int>(1);
    auto watch = notify::watch(bell.fd(), EPOLLIN | EPOLLET, [&, captured](std::uint32_t) {
        entered = true;
        ::usleep(50'000);
        finished = true;
    });
    bell.ring();
    ASSERT_TRUE(wait_until([&] { return entered.load(); }));
    watch->reset();
    EXPECT_TRUE(finished);
    EXPECT_EQ(captured.use_count(), 1);
}

TEST(Housekeeper, DestructionRacingTheCallbackIsSafe) {
    for (int i = 0; i < 300; ++i) {
        const Bell bell;
        auto alive = std::make_unique<std::atomic<int>>(0);
        auto watch = notify::watch(bell.fd(), EPOLLIN, [counter = alive.get()](std::uint32_t) { ++*counter; });
        ASSERT_TRUE(watch);
        bell.ring();
        for (int spin = 0; spin < i * 3; ++spin) base::cpu_pause();
        watch->reset();
        alive.reset();  // a callback that still ran would use it: the address sanitizer tells
    }
}

TEST(Housekeeper, CallbackMayDestroyItsOwnWatchAndOthers) {
    const Bell bell;
    const Bell other_bell;
    std::atomic<int> calls{0};
    std::atomic<int> other_calls{0};
    std::optional<Watch> own;
    std::optional<Watch> other;
    std::atomic<bool> assigned{false};
    other = std::move(*notify::watch(other_bell.fd(), EPOLLIN, [&](std::uint32_t) { ++other_calls; }));
    own = std::move(*notify::watch(bell.fd(), EPOLLIN, [&](std::uint32_t) {
        while (!assigned) {
        }
        own.reset();
        other.reset();
        ++calls;
    }));
    assigned = true;
    bell.ring();  // and never read: without the removal it would be called again and again
    ASSERT_TRUE(wait_until([&] { return calls == 1; }));
    other_bell.ring();
    let_housekeeper_pass();
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(other_calls, 0);
}

TEST(Housekeeper, CallbacksRunOneAtATime) {
    std::vector<Bell> bells(8);
    std::vector<Watch> watches;
    std::atomic<int> inside{0};
    std::atomic<bool> overlapped{false};
    std::atomic<int> calls{0};
    for (const Bell& bell : bells) {
        watches.push_back(std::move(*notify::watch(bell.fd(), EPOLLIN | EPOLLET, [&](std::uint32_t) {
            if (++inside != 1) overlapped = true;
            ::usleep(1'000);
            --inside;
            ++calls;
        })));
    }
    for (const Bell& bell : bells) bell.ring();
    ASSERT_TRUE(wait_until([&] { return calls == 8; }));
    EXPECT_FALSE(overlapped);
}

TEST(Housekeeper, MovedWatchGoesOn) {
    const Bell bell;
    std::atomic<int> calls{0};
    auto first = std::move(*notify::watch(bell.fd(), EPOLLIN | EPOLLET, [&](std::uint32_t) { ++calls; }));
    Watch second = std::move(first);
    first = Watch();
    bell.ring();
    EXPECT_TRUE(wait_until([&] { return calls == 1; }));
    second = Watch();
    bell.ring();
    let_housekeeper_pass();
    EXPECT_EQ(calls, 1);
}

TEST(Housekeeper, FailingCallbackDoesNotEndTheThread) {
    std::atomic<bool> called{false};
    const auto timer = after(0, [&] {
        called = true;
        throw std::runtime_error("on purpose");
    });
    ASSERT_TRUE(wait_until([&] { return called.load(); }));
    let_housekeeper_pass();
}

TEST(Housekeeper, ThreadEndsWhenNothingIsRegisteredAndStartsAgain) {
    for (int round = 0; round < 3; ++round) {
        const Bell bell;
        {
            const auto watch = notify::watch(bell.fd(), EPOLLIN, [](std::uint32_t) {});
            EXPECT_TRUE(wait_until([] { return blocked_signals_of_housekeepers().size() == 1; }));
        }
        EXPECT_TRUE(wait_until([] { return blocked_signals_of_housekeepers().empty(); }));
    }
}

TEST(Housekeeper, ThreadTakesNoSignalOfTheProgram) {
    const Bell bell;
    const auto watch = notify::watch(bell.fd(), EPOLLIN, [](std::uint32_t) {});
    ASSERT_TRUE(wait_until([] { return blocked_signals_of_housekeepers().size() == 1; }));
    const std::uint64_t blocked = blocked_signals_of_housekeepers().front();
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGCHLD, SIGPIPE})
        EXPECT_NE(blocked & (std::uint64_t{1} << (signal - 1)), 0U) << signal;
}

TEST(Housekeeper, SaysWhatCannotBeWatched) {
    EXPECT_EQ(notify::watch(-1, EPOLLIN, [](std::uint32_t) {}).error().status, VMRPC_BAD_ARGUMENT);
    std::string name = "/tmp/vmrpc-housekeeper-XXXXXX";
    const base::Fd file(::mkstemp(name.data()));
    ::unlink(name.c_str());
    EXPECT_EQ(notify::watch(file.get(), EPOLLIN, [](std::uint32_t) {}).error().status, VMRPC_NOT_PERMITTED);
    // The thread that was started for it has nothing to do and ends.
    EXPECT_TRUE(wait_until([] { return blocked_signals_of_housekeepers().empty(); }));
}

TEST(Housekeeper, ManyThreadsRegisterAtOnce) {
    std::atomic<int> calls{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
            for (int i = 0; i < 200; ++i) {
                std::atomic<bool> called{false};
                const auto timer = after(0, [&] { called = true; });
                if (wait_until([&] { return called.load(); })) ++calls;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(calls, 4 * 200);
}

}  // namespace
}  // namespace vmrpc::notify
