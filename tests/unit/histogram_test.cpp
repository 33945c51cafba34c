// The histogram of durations: where a value is counted, and how near its quantiles are.
#include "base/histogram.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <memory>

namespace {

using vmrpc::base::Histogram;

TEST(Histogram, BucketsFollowEachOtherWithoutAGap) {
    for (std::size_t bucket = 0; bucket < Histogram::kBuckets; ++bucket) {
        const std::uint64_t lowest = Histogram::lowest_of(bucket);
        EXPECT_EQ(Histogram::bucket_of(lowest), bucket) << lowest;
        if (bucket != 0) {
            EXPECT_EQ(Histogram::bucket_of(lowest - 1), bucket - 1) << lowest;
        }
    }
}

TEST(Histogram, ABucketIsNarrowerThanTwoPercent) {
    for (std::size_t bucket = 64; bucket + 1 < Histogram::kBuckets; ++bucket) {
        const auto lowest = static_cast<double>(Histogram::lowest_of(bucket));
        EXPECT_LT(static_cast<double>(Histogram::lowest_of(bucket + 1)) - lowest, 0.02 * lowest) << bucket;
    }
}

TEST(Histogram, WhatIsTooLongCountsAsTheLongest) {
    EXPECT_EQ(Histogram::bucket_of(std::uint64_t{1} << Histogram::kValueBits), Histogram::kBuckets - 1);
    EXPECT_EQ(Histogram::bucket_of(UINT64_MAX), Histogram::kBuckets - 1);
}

TEST(Histogram, QuantilesAreWithinTwoPercent) {
    const auto histogram = std::make_unique<Histogram>();
    EXPECT_EQ(histogram->quantile(0.5), 0U) << "nothing was counted";
    constexpr std::uint64_t kCount = 100'000;
    for (std::uint64_t i = 1; i <= kCount; ++i) histogram->count(i * i);  // of very different lengths
    EXPECT_EQ(histogram->total(), kCount);
    for (const double part : {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0}) {
        const double exact = std::pow(1 + part * (kCount - 1), 2);
        EXPECT_NEAR(static_cast<double>(histogram->quantile(part)), exact, 0.02 * exact) << part;
    }
}

}  // namespace
