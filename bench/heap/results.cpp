#include "heap/results.hpp"

#include "heap/workloads.hpp"
#include "support/goals.hpp"
#include "support/ratios.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

namespace vmrpc::bench {
namespace {

/// Two rows and the key of their ratio.
struct Comparison {
    std::string key;
    std::string row;
    std::string base;
};

std::vector<Comparison> comparisons() {
    std::vector<Comparison> all;
    const auto with_others = [&](const std::string& key, const std::string& name) {
        all.push_back({key + "_vs_mimalloc", name, row_of(name, Kind::kMimalloc)});
        all.push_back({"boost_vs_" + key, row_of(name, Kind::kBoost), name});
    };
    for (const std::size_t bytes : kPairBytes) with_others(fmt::format("pair_{}", bytes), pair_row(bytes));
    with_others("list", row::kList);
    with_others("list_freed", row::kListFreed);
    all.push_back({"map100MB_vs_hugetlb", row::kMapped, row::kBareMapping});
    for (const std::string name : {"list", "list_freed"}) {
        const auto* const list = name == "list" ? row::kList : row::kListFreed;
        all.push_back(
            {"monotonic_" + name + "_vs_mimalloc", fmt::format("{} monotonic", list), row_of(list, Kind::kMimalloc)});
    }
    all.push_back({"remote_vs_local_free", row::kRemoteFree, row::kLocalFree});
    all.push_back({"threads_vs_one", row::kThreads, row::kOneThread});
    all.push_back(
        {"mimalloc_threads_vs_one", row_of(row::kThreads, Kind::kMimalloc), row_of(row::kOneThread, Kind::kMimalloc)});
    return all;
}

std::vector<Goal> goals() {
    std::vector<Goal> all;
    for (const std::size_t bytes : kPairBytes) {
        all.push_back({fmt::format("pair_{}_vs_mimalloc", bytes), true, 2});
        all.push_back({fmt::format("boost_vs_pair_{}", bytes), false, 10});
    }
    all.push_back({"list_vs_mimalloc", true, 2});
    all.push_back({"monotonic_list_vs_mimalloc", true, 0.7});
    all.push_back({"remote_vs_local_free", true, 5});
    all.push_back({"threads_vs_one", true, 1.5});
    all.push_back({"map100MB_vs_hugetlb", true, 1.2});
    all.push_back({"connect_ns", true, 1'000'000});
    all.push_back({"connect_resident_bytes", true, 256 * 1024});
    return all;
}

}  // namespace

void compare_heap_rows(std::vector<Row>& rows, bool one_cpu) {
    auto all = comparisons();
    if (!one_cpu) {
        for (const std::size_t bytes : kArgumentBytes) {
            for (const Place place : kPlaces) all.push_back({"", argument_row(place, bytes), floor_of(rows).name});
        }
    }
    for (const Comparison& comparison : all) {
        const auto index = static_cast<std::size_t>(&find(rows, comparison.row) - rows.data());
        rows[index].ratio_to = comparison.base;
        rows[index].ratio = ratio(rows[index], find(rows, comparison.base));
    }
    Row& connect = rows[static_cast<std::size_t>(&find(rows, row::kConnect) - rows.data())];
    if (!connect.rounds.empty())
        connect.what += fmt::format("; {:.0f} KiB resident in both", connect.all().resident_bytes / 1024);
}

nlohmann::ordered_json heap_results(const std::vector<Row>& rows) {
    nlohmann::ordered_json json;
    const auto put = [&](const std::string& key, const Row& row) { json[key] = to_json(row.all().p50_ns); };
    for (const std::size_t bytes : kPairBytes) put(fmt::format("pair_{}_ns", bytes), find(rows, pair_row(bytes)));
    put("list_ns", find(rows, row::kList));
    put("list_freed_ns", find(rows, row::kListFreed));
    for (const Comparison& comparison : comparisons()) {
        const Row& row = find(rows, comparison.row);
        const Row& base = find(rows, comparison.base);
        json[comparison.key] = hundredths(ratio(row, base));
        json[comparison.key + "_of_rounds"] = ratios_of_rounds(row, base);
    }
    put("local_free_ns", find(rows, row::kLocalFree));
    put("remote_free_ns", find(rows, row::kRemoteFree));
    put("connect_ns", find(rows, row::kConnect));
    json["connect_resident_bytes"] = to_json(find(rows, row::kConnect).all().resident_bytes);
    put("floor_ns", floor_of(rows));
    for (const std::size_t bytes : kArgumentBytes) {
        for (const Place place : kPlaces) {
            std::string key = argument_row(place, bytes) + " ns";
            std::replace(key.begin(), key.end(), ' ', '_');
            put("call_" + key, find(rows, argument_row(place, bytes)));
        }
    }
    return json;
}

std::string heap_goal_lines(const nlohmann::ordered_json& results) {
    return goal_lines(goals(), results);
}

}  // namespace vmrpc::bench
