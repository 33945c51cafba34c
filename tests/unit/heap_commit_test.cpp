// Which spans have memory: what CommittedSpans asks of a memfd, by that memfd's blocks.
#include "heap/committed_spans.hpp"
#include "heap/own_arenas.hpp"
#include "heap_sides.hpp"
#include "transport/memfd_pages.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace vmrpc::heap::test {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr std::uint64_t kStepBytes = 256 * 1024;

/// A memfd, and what of it the system has set aside.
class Memory {
  public:
    explicit Memory(std::uint64_t bytes) : descriptor_(::memfd_create("vmrpc-test", MFD_CLOEXEC)) {
        EXPECT_EQ(::ftruncate(descriptor_, static_cast<off_t>(bytes)), 0);
    }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory() { ::close(descriptor_); }
    [[nodiscard]] int descriptor() const { return descriptor_; }
    [[nodiscard]] std::uint64_t bytes() const {
        struct stat status {};
        EXPECT_EQ(::fstat(descriptor_, &status), 0);
        return static_cast<std::uint64_t>(status.st_blocks) * 512;
    }

  private:
    int descriptor_;
};

/// Pages that can be told to fail.
class FailingPages final : public Pages {
  public:
    base::Status commit(layout::Extent range) override {
        asked.push_back(range);
        if (range.bytes > most_bytes) return base::fail(VMRPC_OUT_OF_RESOURCES, "the test has no memory");
        return {};
    }
    bool give_back(layout::Extent range, Wait wait) noexcept override {
        if (wait == Wait::kNo && is_busy) return false;
        given_back_bytes += range.bytes;
        return true;
    }
    [[nodiscard]] std::uint64_t step_bytes() const noexcept override { return 2 * kMiB; }

    std::uint64_t most_bytes = UINT64_MAX;
    bool is_busy = false;
    std::uint64_t given_back_bytes = 0;
    std::vector<layout::Extent> asked;
};

class HeapCommit : public testing::Test {
  protected:
    [[nodiscard]] CommitOptions options() {
        return {.pages = &pages_, .arm = [this](std::int64_t delay_ns) {
                    armed_.push_back(delay_ns);
                    return true;
                }};
    }
    Memory memory_{4 * kGiB};
    transport::MemfdPages pages_{memory_.descriptor()};
    std::vector<std::int64_t> armed_;
};

TEST_F(HeapCommit, NothingIsCommittedUntilABlockIsAllocated) {
    OwnArenas arenas({0, 4 * kGiB}, options());
    EXPECT_EQ(memory_.bytes(), 0U);
    EXPECT_EQ(arenas.committed().committed_bytes(), 0U);
    ASSERT_TRUE((*arenas.find(kMainHeap))->allocate(64));
    EXPECT_EQ(memory_.bytes(), kStepBytes);
    EXPECT_EQ(arenas.committed().committed_bytes(), kStepBytes);
}

TEST_F(HeapCommit, ABlockHasItsMemoryWhenItIsHandedOut) {
    OwnArenas arenas({kSpanBytes, kGiB}, options());
    const auto block = (*arenas.find(kMainHeap))->allocate(100 * kMiB);
    ASSERT_TRUE(block);
    EXPECT_GE(memory_.bytes(), 100 * kMiB);
    EXPECT_LE(memory_.bytes(), 102 * kMiB);
    EXPECT_EQ(memory_.bytes(), arenas.committed().committed_bytes());
}

TEST_F(HeapCommit, StepsGrowWithWhatIsCommitted) {
    OwnArenas arenas({0, kGiB}, options());
    Arena& arena = **arenas.find(kMainHeap);
    std::uint64_t before = 0;
    std::vector<std::uint64_t> steps;
    for (int i = 0; i < 128; ++i) {
        ASSERT_TRUE(arena.allocate(kSpanBytes));
        if (memory_.bytes() != before) steps.push_back(memory_.bytes() - before);
        before = memory_.bytes();
    }
    EXPECT_TRUE(std::is_sorted(steps.begin(), steps.end())) << testing::PrintToString(steps);
    EXPECT_EQ(steps.front(), kStepBytes);
    EXPECT_EQ(steps.back(), 2 * kMiB);
}

TEST_F(HeapCommit, ATrimGivesEverythingEmptyBackAndKeepsWhatIsLive) {
    OwnArenas arenas({0, kGiB}, options());
    Arena& arena = **arenas.find(kMainHeap);
    const auto live = arena.allocate(kSpanBytes);
    const auto block = arena.allocate(64 * kMiB);
    ASSERT_TRUE(live && block);
    ASSERT_EQ(::pwrite(memory_.descriptor(), "live", 4, static_cast<off_t>(*live)), 4);
    ASSERT_EQ(::pwrite(memory_.descriptor(), "dead", 4, static_cast<off_t>(*block)), 4);
    ASSERT_TRUE(arena.free(*block));
    EXPECT_GE(memory_.bytes(), 64 * kMiB);
    EXPECT_EQ(arenas.committed().trim(4 * kMiB), 4 * kMiB);
    while (arenas.committed().trim(4 * kMiB) != 0) {
    }
    EXPECT_EQ(memory_.bytes(), kSpanBytes);
    EXPECT_EQ(arenas.committed().committed_bytes(), kSpanBytes);
    std::array<char, 4> text{};
    ASSERT_EQ(::pread(memory_.descriptor(), text.data(), text.size(), static_cast<off_t>(*live)), 4);
    EXPECT_EQ(std::string_view(text.data(), 4), "live");
    // The same range again: committed again, and empty.
    EXPECT_EQ(arena.allocate(64 * kMiB).value(), *block);
    ASSERT_EQ(::pread(memory_.descriptor(), text.data(), text.size(), static_cast<off_t>(*block)), 4);
    EXPECT_EQ(text, (std::array<char, 4>{}));
    EXPECT_GE(memory_.bytes(), 64 * kMiB);
}

TEST_F(HeapCommit, TheTimerGivesBackWhatHasBeenEmptyForTheDelay) {
    CommitOptions soon = options();
    soon.trim_after_ns = 1;
    CommittedSpans spans({0, kGiB}, soon);
    const layout::Extent run{0, 8 * kMiB};
    ASSERT_TRUE(spans.take(run));
    EXPECT_TRUE(armed_.empty());
    spans.emptied(run);
    spans.emptied({16 * kMiB, kMiB});  // which was never committed
    EXPECT_EQ(armed_, std::vector<std::int64_t>{1});
    ::usleep(1);
    EXPECT_EQ(spans.on_timer(2 * kMiB), 0);  // there is more
    EXPECT_EQ(memory_.bytes(), 6 * kMiB);
    EXPECT_EQ(spans.on_timer(UINT64_MAX), std::nullopt);
    EXPECT_EQ(memory_.bytes(), 0U);
    ASSERT_TRUE(spans.take(run));
    spans.emptied(run);
    EXPECT_EQ(armed_, (std::vector<std::int64_t>{1, 1}));
}

TEST_F(HeapCommit, TheTimerLeavesWhatIsUsedAgain) {
    CommitOptions late = options();
    late.trim_after_ns = std::int64_t{3'600} * 1'000'000'000;
    CommittedSpans spans({0, kGiB}, late);
    const layout::Extent run{0, 8 * kMiB};
    ASSERT_TRUE(spans.take(run));
    spans.emptied(run);
    const auto again_in_ns = spans.on_timer(UINT64_MAX);
    ASSERT_TRUE(again_in_ns);
    EXPECT_LE(*again_in_ns, late.trim_after_ns);
    EXPECT_GT(*again_in_ns, late.trim_after_ns / 2);
    EXPECT_EQ(memory_.bytes(), 8 * kMiB);
    EXPECT_EQ(armed_.size(), 1U);  // still
    ASSERT_TRUE(spans.take(run));
    EXPECT_EQ(spans.on_timer(UINT64_MAX), std::nullopt);
    EXPECT_EQ(spans.trim(UINT64_MAX), 0U);
    EXPECT_EQ(memory_.bytes(), 8 * kMiB);
}

TEST_F(HeapCommit, WithoutADelayNothingIsArmed) {
    CommitOptions never = options();
    never.trim_after_ns = CommitOptions::kNever;
    CommittedSpans spans({0, kGiB}, never);
    ASSERT_TRUE(spans.take({0, kMiB}));
    spans.emptied({0, kMiB});
    EXPECT_TRUE(armed_.empty());
    EXPECT_EQ(spans.trim(UINT64_MAX), kMiB);
}

TEST_F(HeapCommit, TheLimitIsAnErrorAndEmptySpansMakeRoom) {
    CommitOptions limited = options();
    limited.limit_bytes = 8 * kMiB;
    OwnArenas arenas({0, kGiB}, limited);
    Arena& arena = **arenas.find(kMainHeap);
    const auto first = arena.allocate(6 * kMiB);
    ASSERT_TRUE(first);
    const auto second = arena.allocate(3 * kMiB);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().status, VMRPC_HEAP_FULL);
    EXPECT_THAT(second.error().text, HasSubstr("commit limit of 8388608 bytes"));
    EXPECT_LE(memory_.bytes(), 8 * kMiB);
    EXPECT_TRUE(arena.allocate(2 * kMiB));
    ASSERT_TRUE(arena.free(*first));
    EXPECT_TRUE(arena.allocate(5 * kMiB));  // elsewhere or there: what is empty goes first
    EXPECT_LE(memory_.bytes(), 8 * kMiB);
    // The arena's own limit keeps its text.
    const auto beyond = arena.allocate(2 * kGiB);
    ASSERT_FALSE(beyond);
    EXPECT_THAT(beyond.error().text, HasSubstr("largest free run"));
}

TEST_F(HeapCommit, ABoundedHeapIsSparseToo) {
    OwnArenas arenas({0, 2 * kGiB}, options());
    const auto heap = arenas.setup(kGiB);
    ASSERT_TRUE(heap);
    EXPECT_EQ(memory_.bytes(), 0U);
    Arena& arena = **arenas.find(*heap);
    const auto block = arena.allocate(16 * kMiB);
    ASSERT_TRUE(block);
    EXPECT_GE(memory_.bytes(), 16 * kMiB);
    EXPECT_LT(memory_.bytes(), 20 * kMiB);
    EXPECT_TRUE(arenas.free_in_heap(*block));
    ASSERT_TRUE(arenas.destroy(*heap));
    while (arenas.committed().trim(UINT64_MAX) != 0) {
    }
    EXPECT_EQ(memory_.bytes(), 0U);
}

TEST_F(HeapCommit, CommittedAsAWholeItStaysSo) {
    CommittedSpans spans({0, 64 * kMiB}, options());
    ASSERT_TRUE(spans.take({kMiB, kMiB}));
    ASSERT_TRUE(spans.commit_all());
    EXPECT_EQ(memory_.bytes(), 64 * kMiB);
    spans.emptied({kMiB, kMiB});
    EXPECT_EQ(spans.trim(UINT64_MAX), 0U);
    EXPECT_EQ(memory_.bytes(), 64 * kMiB);
    EXPECT_EQ(spans.committed_bytes(), 64 * kMiB);
}

TEST(HeapCommitFailing, WithoutMemoryAllocationFailsAndHarmsNothing) {
    FailingPages pages;
    OwnArenas arenas({0, kGiB}, {.pages = &pages});
    Arena& arena = **arenas.find(kMainHeap);
    pages.most_bytes = 0;
    for (const std::uint64_t bytes : {std::uint64_t{100}, 5 * kMiB}) {
        const auto refused = arena.allocate(bytes);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().status, VMRPC_OUT_OF_RESOURCES);
        EXPECT_EQ(refused.error().text, "the test has no memory");
    }
    EXPECT_EQ(arenas.committed().committed_bytes(), 0U);
    EXPECT_EQ(arena.stats().live_blocks, 0U);
    // What was asked for, if not what would have come next.
    pages.most_bytes = kSpanBytes;
    EXPECT_TRUE(arena.allocate(100));
    EXPECT_EQ(arenas.committed().committed_bytes(), kSpanBytes);
    pages.most_bytes = UINT64_MAX;
    EXPECT_TRUE(arena.allocate(kGiB / 2));
}

TEST(HeapCommitFailing, AsksInLargeStepsWhereAskingIsDear) {
    FailingPages pages;
    OwnArenas arenas({0, kGiB}, {.pages = &pages});
    for (int i = 0; i < 64; ++i) ASSERT_TRUE((*arenas.find(kMainHeap))->allocate(kSpanBytes));
    EXPECT_EQ(pages.asked.size(), 2U);
}

TEST(HeapCommitFailing, WhatCannotBeGivenBackNowIsTriedAgain) {
    FailingPages pages;
    CommittedSpans spans({0, kGiB}, {.pages = &pages, .trim_after_ns = 1});
    ASSERT_TRUE(spans.take({0, 4 * kMiB}));
    spans.emptied({0, 4 * kMiB});
    ::usleep(1);
    pages.is_busy = true;
    const auto again_in_ns = spans.on_timer(UINT64_MAX);
    ASSERT_TRUE(again_in_ns);
    EXPECT_GT(*again_in_ns, 0);
    EXPECT_EQ(spans.committed_bytes(), 4 * kMiB);
    pages.is_busy = false;
    EXPECT_EQ(spans.on_timer(UINT64_MAX), std::nullopt);
    EXPECT_EQ(pages.given_back_bytes, 4 * kMiB);
}

}  // namespace
}  // namespace vmrpc::heap::test
