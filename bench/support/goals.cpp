#include "support/goals.hpp"

#include <fmt/format.h>

namespace vmrpc::bench {
namespace {

std::string goal_line(const Goal& goal, const nlohmann::ordered_json& results) {
    const auto& value = results[goal.key];
    const std::string of_rounds = goal.key + "_of_rounds";
    const std::string what = fmt::format("{} {}", goal.at_most ? "at most" : "at least", goal.value);
    if (value.is_null()) return fmt::format("{} (goal: {}): not measured\n", goal.key, what);
    const bool met = goal.at_most ? value <= goal.value : value >= goal.value;
    return fmt::format("{} {} (goal: {}{}){}\n", goal.key, value.dump(), what, met ? "" : ", missed",
                       results.contains(of_rounds) ? ", of single rounds " + results[of_rounds].dump() : "");
}

}  // namespace

std::string goal_lines(const std::vector<Goal>& goals, const nlohmann::ordered_json& results) {
    std::string lines;
    for (const Goal& goal : goals) lines += goal_line(goal, results);
    return lines;
}

}  // namespace vmrpc::bench
