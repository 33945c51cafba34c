#include "notify/fork_guard.hpp"

#include "base/clock.hpp"
#include "notify/housekeeper.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

namespace vmrpc::notify {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kUnderAddressSanitizer = true;
#elif defined(__has_feature)
constexpr bool kUnderAddressSanitizer = __has_feature(address_sanitizer);
#else
constexpr bool kUnderAddressSanitizer = false;
#endif

GuardedFd make_eventfd() {
    return GuardedFd::made_by([] { return ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); });
}

bool is_open(int descriptor) {
    return ::fcntl(descriptor, F_GETFD) >= 0;
}

// Runs `in_child` in a forked child, and returns its result; -1 if the child did not end as it should.
int forked(const std::function<int()>& in_child) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(20);  // a child that hangs is ended by the system
        ::_exit(in_child());
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool ring_is_noticed() {
    const GuardedFd bell = make_eventfd();
    std::atomic<bool> called{false};
    const auto watch = notify::watch(bell.get(), EPOLLIN, [&](std::uint32_t) { called = true; });
    const std::uint64_t one = 1;
    if (!watch || ::write(bell.get(), &one, sizeof one) != sizeof one) return false;
    const auto deadline = base::Deadline::in(10'000'000'000);
    while (!called && !deadline.passed()) ::usleep(500);
    return called;
}

TEST(ForkGuard, ChildHasNoneOfTheDescriptors) {
    const GuardedFd first = make_eventfd();
    GuardedFd gone = make_eventfd();
    const GuardedFd second = make_eventfd();
    gone.reset();
    const int numbers[] = {first.get(), second.get()};
    EXPECT_EQ(forked([&] {
                  const bool closed = !is_open(numbers[0]) && !is_open(numbers[1]);
                  return closed && !first.valid() && second.get() == -1 ? 0 : 1;
              }),
              0);
    EXPECT_TRUE(is_open(numbers[0]) && is_open(numbers[1]));
}

TEST(ForkGuard, CopyInTheChildDoesNotCloseANumberThatIsUsedAnew) {
    GuardedFd guarded = make_eventfd();
    EXPECT_EQ(forked([&] {
                  const int reused = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
                  guarded.reset();
                  return is_open(reused) ? 0 : 1;
              }),
              0);
}

TEST(ForkGuard, GenerationGrowsInTheChildOnly) {
    const std::uint32_t before = process_generation();
    EXPECT_EQ(forked([&] { return process_generation() == before + 1 ? 0 : 1; }), 0);
    EXPECT_EQ(process_generation(), before);
}

TEST(ForkGuard, ChildUsesTheHousekeeperAnew) {
    // The child starts a thread: as below.
    if (kUnderAddressSanitizer) GTEST_SKIP() << "not under the address sanitizer";
    const GuardedFd bell = make_eventfd();
    auto watch = notify::watch(bell.get(), EPOLLIN, [](std::uint32_t) {});
    ASSERT_TRUE(watch);
    EXPECT_EQ(forked([&] {
                  if (!ring_is_noticed()) return 1;
                  watch->reset();  // the parent's: nothing to do here
                  return ring_is_noticed() ? 0 : 2;
              }),
              0);
    EXPECT_TRUE(ring_is_noticed());
}

TEST(ForkGuard, ForkWhileOtherThreadsUseTheLibrary) {
    // The address sanitizer's allocator (LLVM 14) does not free its locks in the child, and hangs there.
    if (kUnderAddressSanitizer) GTEST_SKIP() << "not under the address sanitizer";
    std::atomic<bool> stop{false};
    std::thread busy([&] {
        while (!stop) {
            const GuardedFd bell = make_eventfd();
            const auto watch = notify::watch(bell.get(), EPOLLIN, [](std::uint32_t) {});
        }
    });
    for (int i = 0; i < 50; ++i) EXPECT_EQ(forked([] { return ring_is_noticed() ? 0 : 1; }), 0);
    stop = true;
    busy.join();
}

TEST(ForkGuard, ForkInACallback) {
    std::atomic<int> result{-2};
    const auto timer = after(0, [&] { result = forked([] { return ring_is_noticed() ? 0 : 1; }); });
    while (result == -2) ::usleep(500);
    EXPECT_EQ(result, 0);
    EXPECT_TRUE(ring_is_noticed());
}

}  // namespace
}  // namespace vmrpc::notify
