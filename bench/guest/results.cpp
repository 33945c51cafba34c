#include "guest/results.hpp"

#include "support/ratios.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

namespace vmrpc::bench {
namespace {

/// 10^6 bytes in a second.
double mb_per_s(const Row& row, double bytes) {
    return bytes * 1'000 / row.all().p50_ns;
}

}  // namespace

void compare_guest_rows(std::vector<Row>& rows) {
    const std::string floor = floor_of(rows).name;
    for (Row& row : rows) {
        if (row.name != row::kSpin && row.name != row::kTcp) continue;
        row.ratio_to = row.name == row::kSpin ? "floor" : row::kSpin;
        row.ratio = ratio(row, find(rows, row.name == row::kSpin ? floor : row::kSpin));
    }
    for (const GuestWorkload& workload : guest_workloads(1)) {
        auto& row = rows[static_cast<std::size_t>(&find(rows, workload.name) - rows.data())];
        const double rate = workload.bytes == 0 ? kUnknown : mb_per_s(row, workload.bytes);
        if (!std::isnan(rate)) row.what += fmt::format("; {:.1f} MB/s", rate);
    }
}

nlohmann::ordered_json guest_results(const std::vector<Row>& rows) {
    nlohmann::ordered_json json;
    const auto put = [&](const std::string& key, const Row& row) {
        json[key] = to_json(row.all().p50_ns);
        json[key + "_p99"] = to_json(row.all().p99_ns);
    };
    const Row& floor = floor_of(rows);
    const Row& spin = find(rows, row::kSpin);
    const Row& tcp = find(rows, row::kTcp);
    put("floor_ns", floor);
    json["floor_spins_with_pause"] = floor.name == row::kFloorPause;
    put("spin_ns", spin);
    json["spin_vs_floor"] = hundredths(ratio(spin, floor));
    json["spin_vs_floor_of_rounds"] = ratios_of_rounds(spin, floor);
    put("tcp_ns", tcp);
    json["tcp_vs_spin"] = hundredths(ratio(tcp, spin));
    json["tcp_vs_spin_of_rounds"] = ratios_of_rounds(tcp, spin);
    json["connect_ns"] = to_json(find(rows, row::kConnect).all().p50_ns);
    for (const GuestWorkload& workload : guest_workloads(1)) {
        std::string key = workload.name + " mb_s";
        std::replace(key.begin(), key.end(), ' ', '_');
        if (workload.bytes != 0) json[key] = to_json(mb_per_s(find(rows, workload.name), workload.bytes));
    }
    return json;
}

}  // namespace vmrpc::bench
