#include "support/ratios.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace vmrpc::bench {
namespace {

std::vector<double> of_each_round(const Row& row, const Row& base) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < std::min(row.rounds.size(), base.rounds.size()); ++i)
        ratios.push_back(row.rounds[i].p50_ns / base.rounds[i].p50_ns);
    return ratios;
}

}  // namespace

const Row& find(const std::vector<Row>& rows, std::string_view name) {
    return *std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return row.name == name; });
}

const Row& floor_of(const std::vector<Row>& rows) {
    const Row& with = find(rows, row::kFloorPause);
    const Row& without = find(rows, row::kFloorNoPause);
    return without.all().p50_ns < with.all().p50_ns ? without : with;
}

double ratio(const Row& row, const Row& base) {
    return median(of_each_round(row, base));
}

nlohmann::ordered_json hundredths(double value) {
    if (std::isnan(value)) return nullptr;
    return std::round(value * 100) / 100;
}

nlohmann::ordered_json ratios_of_rounds(const Row& row, const Row& base) {
    const std::vector<double> ratios = of_each_round(row, base);
    if (ratios.empty()) return nullptr;
    const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
    return {{"min", hundredths(*least)}, {"median", hundredths(median(ratios))}, {"max", hundredths(*most)}};
}

}  // namespace vmrpc::bench
