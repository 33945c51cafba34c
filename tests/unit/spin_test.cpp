// How a spin budget learns.
#include "notify/spin.hpp"

#include <gtest/gtest.h>

namespace vmrpc::notify {
namespace {

constexpr std::int64_t kSoonNs = 60'000;      // more spinning would have caught it
constexpr std::int64_t kLateNs = 10'000'000;  // no spinning would have

/// Waits that spinning does not gain, until the budget is 0 or positive; how many of them.
int waits_until(SpinBudget& budget, bool zero) {
    int waits = 0;
    for (; (budget.budget_ns() == 0) != zero && waits < 1000; ++waits) budget.slept(kLateNs);
    return waits;
}

TEST(SpinBudget, GrowsWhereALittleMoreWouldHaveGained) {
    SpinBudget budget;
    const std::int64_t before_ns = budget.budget_ns();
    budget.slept(kSoonNs);
    EXPECT_GT(budget.budget_ns(), before_ns);
    for (int i = 0; i < 100; ++i) {
        budget.gained();
        budget.slept(kSoonNs);
    }
    EXPECT_LE(budget.budget_ns(), SpinBudget::kMaxAdaptiveNs);
}

TEST(SpinBudget, ShrinksWhereNothingComesSoon) {
    SpinBudget budget;
    const std::int64_t before_ns = budget.budget_ns();
    budget.slept(kLateNs);
    EXPECT_LT(budget.budget_ns(), before_ns);
}

TEST(SpinBudget, PausesBetweenBurstsOfCallsDoNotEndIt) {
    SpinBudget budget;
    for (int burst = 0; burst < 50; ++burst) {
        budget.slept(kLateNs);
        budget.gained();
    }
    EXPECT_GE(budget.budget_ns(), SpinBudget::kLeastAdaptiveNs);
    for (int i = 0; i < 5; ++i) budget.slept(kSoonNs);
    EXPECT_EQ(budget.budget_ns(), SpinBudget::kMaxAdaptiveNs);
}

TEST(SpinBudget, IsGivenUpWhereEvenTheLongestGainsNothing) {
    SpinBudget budget;  // as on a shared CPU: the event comes as soon as this side sleeps
    for (int i = 0; i < 8 && budget.budget_ns() != 0; ++i) budget.slept(budget.budget_ns() + 1'000);
    EXPECT_EQ(budget.budget_ns(), 0);
}

TEST(SpinBudget, IsGivenUpAfterFailuresInARowAndTriedAgain) {
    SpinBudget budget;
    EXPECT_EQ(waits_until(budget, true), 4);
    const int rest = waits_until(budget, false);
    EXPECT_LE(rest, 8);
    EXPECT_EQ(waits_until(budget, true), 1) << "one failure more is enough";
    EXPECT_GT(waits_until(budget, false), rest) << "each rest is longer";
}

TEST(SpinBudget, RestsAreBounded) {
    SpinBudget budget;
    for (int i = 0; i < 20; ++i) {
        waits_until(budget, true);
        EXPECT_LE(waits_until(budget, false), 64);
    }
}

TEST(SpinBudget, AGainMakesTheNextRestShortAgain) {
    SpinBudget budget;
    const int first = (waits_until(budget, true), waits_until(budget, false));
    for (int i = 0; i < 5; ++i) {
        waits_until(budget, true);
        waits_until(budget, false);
    }
    budget.gained();
    EXPECT_EQ(waits_until(budget, true), 4);
    EXPECT_EQ(waits_until(budget, false), first);
}

TEST(SpinBudget, AFixedOneDoesNotLearn) {
    for (const std::int64_t fixed_ns : {std::int64_t{0} + 5'000, SpinBudget::kAlways}) {
        SpinBudget budget(fixed_ns);
        for (int i = 0; i < 10; ++i) budget.slept(kLateNs);
        EXPECT_EQ(budget.budget_ns(), fixed_ns);
    }
    SpinBudget never(SpinBudget::kNever);
    for (int i = 0; i < 100; ++i) never.slept(kSoonNs);
    EXPECT_EQ(never.budget_ns(), 0);
}

TEST(Spin, WithoutABudgetLooksOnce) {
    int looks = 0;
    const auto look = [&] {
        ++looks;
        return false;
    };
    EXPECT_FALSE(spin(SpinBudget(SpinBudget::kNever), {}, look));
    EXPECT_EQ(looks, 1);
}

TEST(Spin, EndsAtTheDeadlineWhateverTheBudget) {
    EXPECT_FALSE(spin(SpinBudget(SpinBudget::kAlways), base::Deadline::in(1'000'000), [] { return false; }));
}

}  // namespace
}  // namespace vmrpc::notify
