// What the rows of a guest say, and of all guests together.
#pragma once

#include "vm/host.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace vmrpc::bench {

/// The keys of one combination in vm.json. What was not measured is null.
nlohmann::ordered_json guest_results(const Combination& combination, const GuestRounds& guest, const Network& network);

/// Puts the ratios into a guest's rows, for the table.
void compare_guest_rows(std::vector<Row>& rows);

/// A line for each combination, of the results of all.
std::string combination_lines(const nlohmann::ordered_json& results);
/// What each is held against.
std::string combination_goal_lines(const nlohmann::ordered_json& results);

}  // namespace vmrpc::bench
