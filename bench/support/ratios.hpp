// What rows are compared by: the floor, and ratios to it.
#pragma once

#include "support/report.hpp"

#include <nlohmann/json.hpp>

#include <string_view>
#include <vector>

namespace vmrpc::bench {

namespace row {
inline constexpr auto kFloorPause = "floor, pause";
inline constexpr auto kFloorNoPause = "floor, no pause";
}  // namespace row

/// The row of that name. Requires that there is one.
const Row& find(const std::vector<Row>& rows, std::string_view name);
/// The floor with PAUSE or without, whichever is lower.
const Row& floor_of(const std::vector<Row>& rows);

/// Of the medians of all rounds.
double ratio(const Row& row, const Row& base);
/// Rounded to hundredths; null if it is unknown.
nlohmann::ordered_json hundredths(double value);
/// Of each round by itself: how far the ratio can be trusted. On a machine that changed its pace between the two halves
/// of a round, that round's ratio is off, and the range shows it.
nlohmann::ordered_json ratios_of_rounds(const Row& row, const Row& base);

}  // namespace vmrpc::bench
