// How long things take: a histogram that is cheap to count into, and exact to below 2 % at any length.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace vmrpc::base {

/// Log-linear, as in HdrHistogram: each power of two is cut into 64 equal buckets, so that a bucket is at most
/// 1/64, 1.6 %, of the values in it wide. From 0 to 2^38 ns, 4.5 minutes; what is longer counts as the last bucket.
/// Threads: any.
class Histogram {
  public:
    static constexpr unsigned kBucketBits = 6;
    static constexpr unsigned kValueBits = 38;
    static constexpr std::size_t kBuckets = std::size_t{kValueBits - kBucketBits + 1} << kBucketBits;

    static constexpr std::size_t bucket_of(std::uint64_t value) {
        if (value >> kValueBits != 0) return kBuckets - 1;
        const auto width = static_cast<unsigned>(std::bit_width(value));
        if (width <= kBucketBits) return value;
        const unsigned shift = width - 1 - kBucketBits;
        return (std::size_t{shift} << kBucketBits) + (value >> shift);
    }
    /// The lowest value of a bucket.
    static constexpr std::uint64_t lowest_of(std::size_t bucket) {
        const std::size_t linear = std::size_t{1} << kBucketBits;
        if (bucket < 2 * linear) return bucket;
        const std::size_t shift = (bucket >> kBucketBits) - 1;
        return (linear + (bucket & (linear - 1))) << shift;
    }

    void count(std::uint64_t value) { buckets_[bucket_of(value)].fetch_add(1, std::memory_order_relaxed); }

    [[nodiscard]] std::uint64_t total() const {
        std::uint64_t total = 0;
        for (const auto& bucket : buckets_) total += bucket.load(std::memory_order_relaxed);
        return total;
    }
    /// The middle of the bucket that holds the smallest value which at least `part` of all do not exceed; 0 if nothing
    /// was counted.
    [[nodiscard]] std::uint64_t quantile(double part) const {
        const std::uint64_t all = total();
        if (all == 0) return 0;
        const auto wanted = static_cast<std::uint64_t>(part * static_cast<double>(all - 1));
        std::uint64_t passed = 0;
        for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
            passed += buckets_[bucket].load(std::memory_order_relaxed);
            if (passed > wanted) return middle_of(bucket);
        }
        return middle_of(kBuckets - 1);
    }

  private:
    static constexpr std::uint64_t middle_of(std::size_t bucket) {
        const std::uint64_t lowest = lowest_of(bucket);
        return bucket + 1 == kBuckets ? lowest : lowest + (lowest_of(bucket + 1) - lowest) / 2;
    }
    /// Counters, read for statistics only: they order nothing.
    std::array<std::atomic<std::uint64_t>, kBuckets> buckets_{};
};

}  // namespace vmrpc::base
