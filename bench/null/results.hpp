// What the null benchmark makes of its rows: the ratios, and the keys of its JSON.
#pragma once

#include "support/report.hpp"

#include <nlohmann/json.hpp>

#include <vector>

namespace vmrpc::bench {

/// Fills in what each row is compared with, now that all are there. `one_cpu`: nothing is compared with a floor that
/// consists of time slices.
void compare_null_rows(std::vector<Row>& rows, bool one_cpu);

/// The keys that stand for the rows: p50 in nanoseconds, each with a "…_p99" beside it, and the two ratios.
nlohmann::ordered_json null_results(const std::vector<Row>& rows, bool one_cpu);

}  // namespace vmrpc::bench
