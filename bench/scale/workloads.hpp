// The rows of the scale benchmark.
#pragma once

#include "support/pair.hpp"
#include "support/scratch_folder.hpp"

#include <array>
#include <string>
#include <vector>

namespace vmrpc::bench {

namespace row {
inline constexpr auto kIdle = "1000 idle";
inline constexpr auto kCallAfter1Ms = "after 1 ms";
inline constexpr auto kCallAfter100Ms = "after 100 ms";
inline constexpr auto kFutexAfter1Ms = "futex after 1 ms";
inline constexpr auto kFutexAfter100Ms = "futex after 100 ms";
inline constexpr auto kAlone = "alone";
inline constexpr auto kFlooded = "beside a flood";
inline constexpr auto kLate = "past the limit";
}  // namespace row

inline constexpr std::array kHotCounts{1, 10, 100, 1'000};
inline constexpr std::array kBusyCounts{1, 10, 100};

/// "hot of 100", "busy 100".
std::string hot_row(int count);
std::string busy_row(int count);

/// All of them. `scale`: of the counts, 1 for a full run. `folder` must outlive them.
std::vector<Workload> scale_workloads(ScratchFolder& folder, double scale);

}  // namespace vmrpc::bench
