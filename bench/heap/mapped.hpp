// A heap that two processes map and touch, all of it.
#pragma once

#include "support/pair.hpp"
#include "support/scratch_folder.hpp"

#include <cstdint>

namespace vmrpc::bench {

/// In two halves of huge pages.
inline constexpr std::uint64_t kMappedBytes = 100 << 20;

/// A call is one memfd of huge pages, mapped and touched by both: the caller writes the first half, the other reads it
/// and writes the second, the caller reads that.
Sides bare_mapping_sides();

}  // namespace vmrpc::bench
