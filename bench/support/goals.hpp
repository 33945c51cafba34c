// What a benchmark's figures are held against.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace vmrpc::bench {

struct Goal {
    std::string key;  // of the results
    bool at_most = true;
    double value = 0;
};

/// A line for each goal: the figure, the goal, and "missed" where it is. What was not measured says so.
std::string goal_lines(const std::vector<Goal>& goals, const nlohmann::ordered_json& results);

}  // namespace vmrpc::bench
