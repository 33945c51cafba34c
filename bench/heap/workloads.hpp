// The rows of the heap benchmark.
#pragma once

#include "heap/allocators.hpp"

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace vmrpc::bench {

namespace row {
inline constexpr auto kList = "list";
inline constexpr auto kListFreed = "list, freed";
inline constexpr auto kLocalFree = "local free";
inline constexpr auto kRemoteFree = "remote free";
inline constexpr auto kOneThread = "1 thread";
inline constexpr auto kThreads = "8 threads";
inline constexpr auto kConnect = "connect";
}  // namespace row

inline constexpr std::array<std::size_t, 4> kPairBytes{16, 256, 4096, 65'536};
inline constexpr int kManyThreads = 8;

/// "pair 4096".
std::string pair_row(std::size_t bytes);
/// The row of the same work with another heap: "pair 4096 mimalloc".
std::string row_of(std::string_view name, Kind kind);

/// All of them. `scale`: of the counts, 1 for a full run. `folder` must outlive them.
std::vector<Workload> heap_workloads(ScratchFolder& folder, double scale);

}  // namespace vmrpc::bench
