// The rows of the heap benchmark.
#pragma once

#include "heap/allocators.hpp"
#include "heap/arguments.hpp"

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
inline constexpr auto kMapped = "heap of huge pages";
inline constexpr auto kBareMapping = "bare mapping";
}  // namespace row

inline constexpr std::array<std::size_t, 4> kPairBytes{16, 256, 4096, 65'536};
inline constexpr int kManyThreads = 8;
inline constexpr std::array<std::size_t, 3> kArgumentBytes{256, 4096, 65'536};
inline constexpr std::array kPlaces{Place::kFrame, Place::kOutside, Place::kStack, Place::kBorrowed, Place::kHeap};

/// "pair 4096".
std::string pair_row(std::size_t bytes);
/// The row of the same work with another heap: "pair 4096 mimalloc".
std::string row_of(std::string_view name, Kind kind);

/// "heap 4096": a call with its argument there.
std::string argument_row(Place place, std::size_t bytes);

/// What the workloads depend on.
struct Conditions {
    double scale = 1;           // of the counts, 1 for a full run
    bool one_cpu = false;       // what spins takes a time slice for each handover: only a few calls of that are made
    std::string no_huge_pages;  // why there are none; empty if there are
};

/// All of them. `folder` must outlive them.
std::vector<Workload> heap_workloads(ScratchFolder& folder, const Conditions& conditions);

}  // namespace vmrpc::bench
