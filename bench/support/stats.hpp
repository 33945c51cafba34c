// From samples to the figures of a row.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace vmrpc::bench {

/// What cannot be said: too few samples, or nothing measured. Shown as "-", and as null in JSON.
inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

/// What one round tells of one workload; times of one call, in nanoseconds. Trivially copyable: it travels through a
/// pipe.
struct Figures {
    double p50_ns = kUnknown;
    double p99_ns = kUnknown;
    double p999_ns = kUnknown;
    double max_ns = kUnknown;
    double cpu_ns = kUnknown;          // that both processes burned for each call
    double resident_bytes = kUnknown;  // that one of what is measured takes, where that is measured
    double client_bytes = kUnknown;    // that it takes in the client's process alone, where that is told apart
    std::uint64_t calls = 0;
};

/// A quantile of sorted samples: the smallest one that at least that part of all does not exceed. Unknown if they are
/// too few to have one beyond it: p99 needs 100.
double quantile(std::span<const double> sorted, double part);

/// p50, p99, p99.9 and max of samples, in any order.
Figures summarize(std::vector<double> samples);

/// The middle one, or the mean of the two middle ones; unknown values are left out.
double median(std::vector<double> values);

/// Of several rounds: medians, except `max_ns`, the largest, and `calls`, the sum.
Figures over_rounds(std::span<const Figures> rounds);

}  // namespace vmrpc::bench
