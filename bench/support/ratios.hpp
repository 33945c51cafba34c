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

/// The median of each round's ratio: the two were measured next to each other there, which is what alternating rounds
/// are for. (The ratio of the medians of all rounds is off where the machine has two paces, and one of the two rows met
/// the faster one more often.)
double ratio(const Row& row, const Row& base);
/// Rounded to hundredths; null if it is unknown.
nlohmann::ordered_json hundredths(double value);
/// Its range: how far it can be trusted. In a round in which the machine changed its pace between the two, the ratio is
/// off, and the range shows it.
nlohmann::ordered_json ratios_of_rounds(const Row& row, const Row& base);

}  // namespace vmrpc::bench
