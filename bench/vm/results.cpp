#include "vm/results.hpp"

#include "support/goals.hpp"
#include "support/ratios.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

namespace vmrpc::bench {
namespace {

/// 10^6 bytes in a second.
double mb_per_s(const Row& row, double bytes) {
    return bytes * 1'000 / row.all().p50_ns;
}

void put_times(nlohmann::ordered_json& json, const std::string& key, const Row& row) {
    json[key] = to_json(row.all().p50_ns);
    json[key + "_p99"] = to_json(row.all().p99_ns);
}

/// How many of `base` a `row` takes.
void put_ratio(nlohmann::ordered_json& json, const std::string& key, const Row& row, const Row& base) {
    json[key] = hundredths(ratio(row, base));
    json[key + "_of_rounds"] = ratios_of_rounds(row, base);
}

void put_idle(nlohmann::ordered_json& json, const GuestRounds& guest) {
    for (const GuestWatch& watch : guest_watches(1)) {
        const auto found = guest.idle.find(watch.key);
        const IdleCpu idle = found == guest.idle.end() ? IdleCpu{} : found->second;
        json[watch.key + "_guest_cpu_percent"] = hundredths(idle.guest_percent);
        json[watch.key + "_host_cpu_percent"] = hundredths(idle.host_percent);
    }
}

/// What is null is "-".
std::string shown(const nlohmann::ordered_json& json, const char* key, double part = 1, int digits = 2) {
    const auto& value = json[key];
    return value.is_null() ? "-" : fmt::format("{:.{}f}", value.get<double>() / part, digits);
}

}  // namespace

void compare_guest_rows(std::vector<Row>& rows) {
    const auto compare = [&](const char* name, const std::string& base) {
        auto& row = rows[static_cast<std::size_t>(&find(rows, name) - rows.data())];
        row.ratio_to = base;
        row.ratio = ratio(row, find(rows, base));
    };
    compare(row::kSpin, floor_of(rows).name);
    compare(row::kRing, row::kTcp);
    compare(row::kTcp, row::kSpin);
    for (const GuestWorkload& workload : guest_workloads(1)) {
        auto& row = rows[static_cast<std::size_t>(&find(rows, workload.name) - rows.data())];
        const double rate = workload.bytes == 0 ? kUnknown : mb_per_s(row, workload.bytes);
        if (!std::isnan(rate)) row.what += fmt::format("; {:.1f} MB/s", rate);
    }
}

nlohmann::ordered_json guest_results(const Combination& combination, const GuestRounds& guest, const Network& network) {
    const std::vector<Row>& rows = guest.measured.rows;
    nlohmann::ordered_json json{{"memory", combination.memory},
                                {"ring", combination.ring},
                                {"network", network.name()},
                                {"has_vfio", guest.has_vfio}};
    const Row& floor = floor_of(rows);
    const Row& spin = find(rows, row::kSpin);
    const Row& ring = find(rows, row::kRing);
    const Row& tcp = find(rows, row::kTcp);
    put_times(json, "floor_ns", floor);
    json["floor_spins_with_pause"] = floor.name == row::kFloorPause;
    put_times(json, "spin_ns", spin);
    put_times(json, "ring_ns", ring);
    put_times(json, "tcp_ns", tcp);
    put_ratio(json, "spin_vs_floor", spin, floor);
    put_ratio(json, "spin_vs_tcp", tcp, spin);
    put_ratio(json, "ring_vs_tcp", tcp, ring);
    json["connect_ns"] = to_json(find(rows, row::kConnect).all().p50_ns);
    for (const GuestWorkload& workload : guest_workloads(1)) {
        std::string key = workload.name + " mb_s";
        std::replace(key.begin(), key.end(), ' ', '_');
        if (workload.bytes != 0) json[key] = to_json(mb_per_s(find(rows, workload.name), workload.bytes));
    }
    put_idle(json, guest);
    return json;
}

std::string combination_lines(const nlohmann::ordered_json& results) {
    constexpr auto kLine = "{:<12} {:>7} {:>7} {:>8} {:>8} {:>8} {:>10} {:>8} {:>8} {:>15} {:>15}\n";
    std::string lines = fmt::format(kLine, "us; CPU %", "floor", "call", "by ring", "p99", "tcp", "call/floor",
                                    "tcp/call", "tcp/ring", "waits: VM, host", "idle: VM, host");
    for (const Combination& combination : combinations()) {
        if (!results.contains(combination.key())) continue;
        const auto& json = results[combination.key()];
        const auto pair = [&](const char* guest, const char* host) {
            return shown(json, guest) + ", " + shown(json, host);
        };
        lines +=
            fmt::format(kLine, combination.name(), shown(json, "floor_ns", 1'000), shown(json, "spin_ns", 1'000),
                        shown(json, "ring_ns", 1'000, 1), shown(json, "ring_ns_p99", 1'000, 1),
                        shown(json, "tcp_ns", 1'000, 1), shown(json, "spin_vs_floor"), shown(json, "spin_vs_tcp", 1, 0),
                        shown(json, "ring_vs_tcp"), pair("waiting_guest_cpu_percent", "waiting_host_cpu_percent"),
                        pair("connected_guest_cpu_percent", "connected_host_cpu_percent"));
    }
    return lines;
}

std::string combination_goal_lines(const nlohmann::ordered_json& results) {
    std::string lines;
    for (const Combination& combination : combinations()) {
        if (!results.contains(combination.key())) continue;
        std::vector<Goal> goals{{"spin_vs_tcp", false, 200}, {"spin_vs_floor", true, 1.5}};
        if (!std::isnan(combination.ring_goal)) goals.push_back({"ring_vs_tcp", false, combination.ring_goal});
        lines += combination.name() + ":\n" + goal_lines(goals, results[combination.key()]);
    }
    return lines;
}

}  // namespace vmrpc::bench
