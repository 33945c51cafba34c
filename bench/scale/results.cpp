#include "scale/results.hpp"

#include "scale/workloads.hpp"
#include "support/goals.hpp"
#include "support/ratios.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace vmrpc::bench {
namespace {

struct Comparison {
    const char* key;
    std::string row;
    std::string base;
};

std::vector<Comparison> comparisons() {
    return {{"hot_10_vs_1", hot_row(10), hot_row(1)},
            {"hot_100_vs_1", hot_row(100), hot_row(1)},
            {"hot_1000_vs_1", hot_row(1'000), hot_row(1)},
            {"after_1ms_vs_futex", row::kCallAfter1Ms, row::kFutexAfter1Ms},
            {"after_100ms_vs_futex", row::kCallAfter100Ms, row::kFutexAfter100Ms},
            {"flooded_vs_alone", row::kFlooded, row::kAlone}};
}

/// Of a second of one core.
double percent(double ns_in_a_second) {
    return ns_in_a_second / 1e7;
}

std::string thousands_per_s(double ns) {
    return std::isnan(ns) ? "" : fmt::format("; {:.0f} thousand calls/s", 1e6 / ns);
}

}  // namespace

void compare_scale_rows(std::vector<Row>& rows) {
    const auto at = [&](const std::string& name) -> Row& {
        return rows[static_cast<std::size_t>(&find(rows, name) - rows.data())];
    };
    for (const Comparison& comparison : comparisons()) {
        at(comparison.row).ratio_to = comparison.base;
        at(comparison.row).ratio = ratio(at(comparison.row), at(comparison.base));
    }
    for (const int count : kBusyCounts) at(busy_row(count)).what += thousands_per_s(at(busy_row(count)).all().p50_ns);
    const Figures idle = at(row::kIdle).all();
    if (!at(row::kIdle).rounds.empty())
        at(row::kIdle).what += fmt::format(
            "; {:.2f} % of a core; each connection: {:.1f} KiB with all that is shared, {:.1f} KiB more in "
            "the client",
            percent(idle.p50_ns), idle.resident_bytes / 1024, idle.client_bytes / 1024);
}

nlohmann::ordered_json scale_results(const std::vector<Row>& rows) {
    nlohmann::ordered_json json;
    const auto put = [&](const std::string& key, const Row& row) {
        const Figures all = row.all();
        json[key + "_ns"] = to_json(all.p50_ns);
        json[key + "_ns_p99"] = to_json(all.p99_ns);
    };
    for (const int count : kHotCounts) put(fmt::format("hot_{}", count), find(rows, hot_row(count)));
    for (const int count : kBusyCounts) {
        const double ns = find(rows, busy_row(count)).all().p50_ns;
        json[fmt::format("busy_{}_calls_per_s", count)] = to_json(1e9 / ns);
    }
    put("alone", find(rows, row::kAlone));
    put("flooded", find(rows, row::kFlooded));
    put("after_1ms", find(rows, row::kCallAfter1Ms));
    put("after_100ms", find(rows, row::kCallAfter100Ms));
    put("past_limit", find(rows, row::kLate));
    json["past_limit_ns_max"] = to_json(find(rows, row::kLate).all().max_ns);
    const Figures idle = find(rows, row::kIdle).all();
    json["idle_cpu_percent"] = hundredths(percent(idle.p50_ns));
    json["idle_connection_bytes"] = to_json(idle.resident_bytes);
    json["idle_connection_client_bytes"] = to_json(idle.client_bytes);
    for (const Comparison& comparison : comparisons()) {
        const Row& row = find(rows, comparison.row);
        const Row& base = find(rows, comparison.base);
        json[comparison.key] = hundredths(ratio(row, base));
        json[std::string(comparison.key) + "_of_rounds"] = ratios_of_rounds(row, base);
    }
    return json;
}

std::string scale_goal_lines(const nlohmann::ordered_json& results) {
    return goal_lines(
        {{"hot_1000_vs_1", true, 1.2}, {"idle_cpu_percent", true, 0.5}, {"idle_connection_bytes", true, 64 * 1024}},
        results);
}

}  // namespace vmrpc::bench
