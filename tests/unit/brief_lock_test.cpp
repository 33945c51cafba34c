// The lock for a few instructions: one holder at a time, and what it did is seen by the next.
#include "base/brief_lock.hpp"

#include <gtest/gtest.h>

#include <mutex>
#include <thread>
#include <vector>

namespace vmrpc::base {
namespace {

TEST(BriefLock, HasOneHolderAtATime) {
    constexpr int kThreads = 4;
    constexpr int kTimes = 20'000;
    BriefLock brief;
    int count = 0;  // plain: ThreadSanitizer sees whether the lock orders it
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < kThreads; ++i)
            threads.emplace_back([&] {
                for (int time = 0; time < kTimes; ++time) {
                    const std::lock_guard lock(brief);
                    ++count;
                }
            });
    }
    EXPECT_EQ(count, kThreads * kTimes);
}

TEST(BriefLock, SaysWhetherItIsHeld) {
    BriefLock brief;
    EXPECT_TRUE(brief.try_lock());
    EXPECT_FALSE(brief.try_lock());
    brief.unlock();
    EXPECT_TRUE(brief.try_lock());
}

}  // namespace
}  // namespace vmrpc::base
