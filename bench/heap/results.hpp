// What the heap benchmark makes of its rows: the ratios, the keys of its JSON, and what is beside its goal.
#pragma once

#include "support/report.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace vmrpc::bench {

/// Fills in what each row is compared with, now that all are there. `one_cpu`: nothing is compared with a floor that
/// consists of time slices.
void compare_heap_rows(std::vector<Row>& rows, bool one_cpu);

/// The keys of heap.json. What was not measured is null.
nlohmann::ordered_json heap_results(const std::vector<Row>& rows);

/// A line for each figure that has a goal: the figure, the goal, and how far single rounds lie apart.
std::string heap_goal_lines(const nlohmann::ordered_json& results);

}  // namespace vmrpc::bench
