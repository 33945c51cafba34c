// How long things take: a histogram that is cheap to count into, and exact to below 2 % at any length.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace vmrpc::base {

/// Log-linear, as in HdrHistogram: each power of two is cut into 64 equal buckets, so that a bucket is at most
/// 1/64, 1.6 %, of the values in it wide. From 0 to 2^38 ns, 4.5 minutes; what is longer counts as the last bucket.
/// The buckets of a power of two are made when the first value of that size is counted: most things take about the same
/// time. Threads: any.
class Histogram {
  public:
    static constexpr unsigned kBucketBits = 6;
    static constexpr unsigned kValueBits = 38;
    static constexpr std::size_t kBuckets = std::size_t{kValueBits - kBucketBits + 1} << kBucketBits;

    Histogram() = default;
    Histogram(const Histogram&) = delete;
    Histogram& operator=(const Histogram&) = delete;
    ~Histogram() {
        for (auto& row : rows_) delete row.load(std::memory_order_relaxed);
    }

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

    /// Without memory for the first of its size a value is not counted.
    void count(std::uint64_t value) noexcept {
        const std::size_t bucket = bucket_of(value);
        if (Row* const row = row_for(bucket)) (*row)[bucket % kRowBuckets].fetch_add(1, std::memory_order_relaxed);
    }

    [[nodiscard]] std::uint64_t total() const {
        std::uint64_t total = 0;
        for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) total += counted(bucket);
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
            passed += counted(bucket);
            if (passed > wanted) return middle_of(bucket);
        }
        return middle_of(kBuckets - 1);
    }

  private:
    static constexpr std::size_t kRowBuckets = std::size_t{1} << kBucketBits;
    static constexpr std::size_t kRows = kBuckets / kRowBuckets;
    /// Counters, read for statistics only: they order nothing.
    using Row = std::array<std::atomic<std::uint64_t>, kRowBuckets>;

    [[nodiscard]] std::uint64_t counted(std::size_t bucket) const {
        // acquire: pairs with the release in row_for(), so that a row's first zeros are seen
        const Row* const row = rows_[bucket / kRowBuckets].load(std::memory_order_acquire);
        return row == nullptr ? 0 : (*row)[bucket % kRowBuckets].load(std::memory_order_relaxed);
    }
    /// nullptr without memory.
    Row* row_for(std::size_t bucket) noexcept {
        auto& place = rows_[bucket / kRowBuckets];
        Row* there = place.load(std::memory_order_acquire);
        if (there != nullptr) return there;
        std::unique_ptr<Row> made(new (std::nothrow) Row{});
        // release: pairs with the acquire in counted() and above. Another thread may have been first.
        if (made == nullptr || !place.compare_exchange_strong(there, made.get(), std::memory_order_acq_rel))
            return there;
        return made.release();
    }
    static constexpr std::uint64_t middle_of(std::size_t bucket) {
        const std::uint64_t lowest = lowest_of(bucket);
        return bucket + 1 == kBuckets ? lowest : lowest + (lowest_of(bucket + 1) - lowest) / 2;
    }
    std::array<std::atomic<Row*>, kRows> rows_{};
};

}  // namespace vmrpc::base
