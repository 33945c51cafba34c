// The rows of the null benchmark.
#pragma once

#include "support/pair.hpp"
#include "support/scratch_folder.hpp"

#include <vector>

namespace vmrpc::bench {

namespace row {
inline constexpr auto kCall = "call, C++";
inline constexpr auto kCCall = "call, C";
inline constexpr auto kPipelined16 = "16 in flight";
inline constexpr auto kPipelined64 = "64 in flight";
inline constexpr auto kTwoThreads = "two threads";
inline constexpr auto kAdaptive = "adaptive";
inline constexpr auto kIdle1Ms = "idle 1 ms";
inline constexpr auto kIdle100Ms = "idle 100 ms";
inline constexpr auto kFutex = "futex";
inline constexpr auto kBlockedCall = "blocked call";
}  // namespace row

/// All of them. `scale`: of the counts, 1 for a full run. `one_cpu`: what spins takes a time slice for each handover,
/// so only a few calls of that are made. `folder` must outlive them.
std::vector<Workload> null_workloads(ScratchFolder& folder, double scale, bool one_cpu);

}  // namespace vmrpc::bench
