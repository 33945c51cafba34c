#include "null/results.hpp"

#include "null/workloads.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>

namespace vmrpc::bench {
namespace {

const Row& find(const std::vector<Row>& rows, std::string_view name) {
    return *std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return row.name == name; });
}

/// The floor with PAUSE or without, whichever is lower.
const Row& floor_of(const std::vector<Row>& rows) {
    const Row& with = find(rows, row::kFloorPause);
    const Row& without = find(rows, row::kFloorNoPause);
    return without.all().p50_ns < with.all().p50_ns ? without : with;
}

double ratio(const Row& row, const Row& base) {
    return row.all().p50_ns / base.all().p50_ns;
}

nlohmann::ordered_json hundredths(double value) {
    if (std::isnan(value)) return nullptr;
    return std::round(value * 100) / 100;
}

/// Of each round by itself: how far the ratio can be trusted. On a machine that changed its pace between the two halves
/// of a round, that round's ratio is off, and the range shows it.
nlohmann::ordered_json ratios_of_rounds(const Row& row, const Row& base) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < std::min(row.rounds.size(), base.rounds.size()); ++i)
        ratios.push_back(row.rounds[i].p50_ns / base.rounds[i].p50_ns);
    if (ratios.empty()) return nullptr;
    const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
    return {{"min", hundredths(*least)}, {"median", hundredths(median(ratios))}, {"max", hundredths(*most)}};
}

}  // namespace

void compare_null_rows(std::vector<Row>& rows, bool one_cpu) {
    const std::string floor = floor_of(rows).name;
    for (Row& row : rows) {
        const bool blocks = row.name == row::kBlockedCall;
        if (!blocks && row.name != row::kCall && row.name != row::kCCall && row.name != row::kAdaptive) continue;
        if (one_cpu && !blocks) continue;
        row.ratio_to = blocks ? row::kFutex : "floor";
        row.ratio = ratio(row, find(rows, blocks ? row::kFutex : floor));
    }
}

nlohmann::ordered_json null_results(const std::vector<Row>& rows, bool one_cpu) {
    nlohmann::ordered_json json;
    const auto put = [&](const std::string& key, const Row& row) {
        const Figures all = row.all();
        json[key] = to_json(all.p50_ns);
        json[key + "_p99"] = to_json(all.p99_ns);
    };
    const Row& floor = floor_of(rows);
    const Row& call = find(rows, row::kCall);
    const Row& c_call = find(rows, row::kCCall);
    const Row& slower = c_call.all().p50_ns > call.all().p50_ns ? c_call : call;
    const Row& futex = find(rows, row::kFutex);
    const Row& blocked = find(rows, row::kBlockedCall);
    put("floor_ns", floor);
    json["floor_spins_with_pause"] = floor.name == row::kFloorPause;
    put("call_ns", call);
    put("c_call_ns", c_call);
    json["ratio_to_floor"] = hundredths(one_cpu ? kUnknown : ratio(slower, floor));
    json["ratio_to_floor_of_rounds"] = ratios_of_rounds(slower, floor);
    put("futex_ns", futex);
    put("blocked_call_ns", blocked);
    json["blocked_ratio_to_futex"] = hundredths(ratio(blocked, futex));
    json["blocked_ratio_to_futex_of_rounds"] = ratios_of_rounds(blocked, futex);
    put("adaptive_call_ns", find(rows, row::kAdaptive));
    put("call_after_1ms_idle_ns", find(rows, row::kIdle1Ms));
    put("call_after_100ms_idle_ns", find(rows, row::kIdle100Ms));
    return json;
}

}  // namespace vmrpc::bench
