#include "latency.hpp"

#include "failure.hpp"
#include "functions.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

namespace demo {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

constexpr std::uint64_t kRounds = 11;
constexpr std::uint64_t kFewRounds = 3;
constexpr std::size_t kTrips = 20'000;
constexpr auto kLongest = std::chrono::milliseconds(100);
constexpr std::size_t kWarmUps = 100;  // the other side's threads wake up, and stop waiting for the other kind

/// Appends the durations of one round, of kTrips trips or kLongest.
template <class Trip>
void run_round(std::vector<double>& samples_ns, Trip trip) {
    for (std::size_t i = 0; i < kWarmUps; ++i) trip();
    const auto begin = Clock::now();
    auto last = begin;
    for (std::size_t i = 0; i < kTrips && last - begin < kLongest; ++i) {
        trip();
        const auto now = Clock::now();
        samples_ns.push_back(std::chrono::duration<double, std::nano>(now - last).count());
        last = now;
    }
}

double percentile(std::vector<double>& samples, double part) {
    if (samples.empty()) return 0;
    const auto index = static_cast<std::ptrdiff_t>(part * static_cast<double>(samples.size() - 1));
    std::nth_element(samples.begin(), samples.begin() + index, samples.end());
    return samples[static_cast<std::size_t>(index)];
}

Percentiles percentiles(std::vector<double>& samples_ns) {
    return {percentile(samples_ns, 0.5), percentile(samples_ns, 0.99)};
}

}  // namespace

LatencyReport measure_latency(const vmrpc::Client& client, EchoClient* echo, Progress& progress) {
    progress.step("round trips that carry nothing");
    std::vector<double> calls_ns;
    std::vector<double> echoes_ns;
    calls_ns.reserve(kRounds * kTrips);
    for (std::uint64_t round = 0; round < kRounds; ++round) {
        progress.detail(fmt::format("round trips: round {} of {}", round + 1, kRounds));
        run_round(calls_ns, [&] { must(client.call<nothing>(), "a call without arguments"); });
        if (echo != nullptr) run_round(echoes_ns, [&] { echo->round_trip(); });
    }
    return {kRounds, percentiles(calls_ns), "", percentiles(echoes_ns)};
}

Percentiles measure_null_call(const vmrpc::Client& client) {
    std::vector<double> calls_ns;
    calls_ns.reserve(kFewRounds * kTrips);
    for (std::uint64_t round = 0; round < kFewRounds; ++round)
        run_round(calls_ns, [&] { must(client.call<nothing>(), "a call without arguments"); });
    return percentiles(calls_ns);
}

}  // namespace demo
