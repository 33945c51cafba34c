#include "null/results.hpp"

#include "null/workloads.hpp"
#include "support/ratios.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>

namespace vmrpc::bench {
void compare_null_rows(std::vector<Row>& rows, bool one_cpu) {
    const std::string floor = floor_of(rows).name;
    for (Row& row : rows) {
        const bool blocks = row.name == row::kBlockedCall;
        if (!blocks && row.name != row::kCall && row.name != row::kCCall && row.name != row::kAdaptive &&
            row.name != row::kPipelined16 && row.name != row::kPipelined64 && row.name != row::kTwoThreads)
            continue;
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
    const auto put_ratio = [&](const std::string& key, const Row& row) {
        json[key + "_ns"] = to_json(row.all().p50_ns);
        json[key + "_ratio"] = hundredths(one_cpu ? kUnknown : ratio(row, floor));
        json[key + "_ratio_of_rounds"] = ratios_of_rounds(row, floor);
    };
    put_ratio("pipelined16", find(rows, row::kPipelined16));
    put_ratio("pipelined64", find(rows, row::kPipelined64));
    put_ratio("two_threads", find(rows, row::kTwoThreads));
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
