#include "support/stats.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace vmrpc::bench {
namespace {

std::vector<double> collect(std::span<const Figures> rounds, double Figures::*member) {
    std::vector<double> values;
    for (const Figures& round : rounds) values.push_back(round.*member);
    return values;
}

}  // namespace

double quantile(std::span<const double> sorted, double part) {
    const auto count = static_cast<double>(sorted.size());
    if (sorted.empty() || (1 - part) * count < 1 - 1e-9) return kUnknown;
    const auto rank = static_cast<std::size_t>(std::ceil(part * count));
    return sorted[rank == 0 ? 0 : rank - 1];
}

Figures summarize(std::vector<double> samples) {
    if (samples.empty()) return {};
    std::sort(samples.begin(), samples.end());
    return {.p50_ns = median(samples),
            .p99_ns = quantile(samples, 0.99),
            .p999_ns = quantile(samples, 0.999),
            .max_ns = samples.back()};
}

double median(std::vector<double> values) {
    std::erase_if(values, [](double value) { return std::isnan(value); });
    if (values.empty()) return kUnknown;
    std::sort(values.begin(), values.end());
    const std::size_t middle = values.size() / 2;
    return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

Figures over_rounds(std::span<const Figures> rounds) {
    Figures all{.p50_ns = median(collect(rounds, &Figures::p50_ns)),
                .p99_ns = median(collect(rounds, &Figures::p99_ns)),
                .p999_ns = median(collect(rounds, &Figures::p999_ns)),
                .cpu_ns = median(collect(rounds, &Figures::cpu_ns)),
                .resident_bytes = median(collect(rounds, &Figures::resident_bytes)),
                .client_bytes = median(collect(rounds, &Figures::client_bytes))};
    for (const Figures& round : rounds) {
        all.max_ns = std::isnan(all.max_ns) ? round.max_ns : std::max(all.max_ns, round.max_ns);
        all.calls += round.calls;
    }
    return all;
}

}  // namespace vmrpc::bench
