// The same server, called with other combinations of memory and ring.
#pragma once

#include "progress.hpp"
#include "report.hpp"

#include <string>
#include <vector>

namespace demo {

/// What an address of this guest says of its combination, and whether its processes are interrupted: when a client has
/// connected there.
CombinationReport describe_combination(const std::string& address);

/// For each address, a connection of its own, one after the other. One that cannot be had is reported as such, as is
/// one whose calls fail.
std::vector<CombinationReport> measure_combinations(const std::vector<std::string>& addresses, Progress& progress);

}  // namespace demo
