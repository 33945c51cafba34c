// Alternating rounds: every workload once in each, so that what the machine does meanwhile hits all of them alike.
#pragma once

#include "support/pair.hpp"
#include "support/report.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace vmrpc::bench {

struct RoundsResult {
    std::vector<Row> rows;   // one for each workload
    int complete = 0;        // rounds in which every workload was measured
    std::string stopped_by;  // why there are not more; empty if all were made
};

/// Runs the rounds, every other one in reverse order, without what cannot be measured. What was measured when a signal
/// comes, the time is over, or a side fails is kept. Progress goes to stderr if that is a terminal.
RoundsResult run_rounds(const std::vector<Workload>& workloads, const CpuPair& cpus, int rounds, std::int64_t until_ns);

}  // namespace vmrpc::bench
