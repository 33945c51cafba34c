// What the scale benchmark makes of its rows: the ratios, and the keys of its JSON.
#pragma once

#include "support/report.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace vmrpc::bench {

/// Fills in what rows are compared with, now that all are there.
void compare_scale_rows(std::vector<Row>& rows);

/// The keys that stand for the rows, and the ratios.
nlohmann::ordered_json scale_results(const std::vector<Row>& rows);

/// A line for each goal.
std::string scale_goal_lines(const nlohmann::ordered_json& results);

}  // namespace vmrpc::bench
