// What the guest benchmark's rows say.
#pragma once

#include "guest/workloads.hpp"
#include "support/report.hpp"

#include <nlohmann/json.hpp>

#include <vector>

namespace vmrpc::bench {

/// Puts the ratios into the rows, for the table.
void compare_guest_rows(std::vector<Row>& rows);

/// The keys of guest.json. What was not measured is null.
nlohmann::ordered_json guest_results(const std::vector<Row>& rows);

}  // namespace vmrpc::bench
