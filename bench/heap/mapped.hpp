// Memory that two processes map and touch, all of it: a heap of huge pages, and bare ones.
#pragma once

#include "support/pair.hpp"
#include "support/scratch_folder.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace vmrpc::bench {

/// In two halves of huge pages.
inline constexpr std::uint64_t kMappedBytes = 100 << 20;

inline constexpr std::size_t kHalfBytes = kMappedBytes / 2;

/// Touch one byte in every 4 KiB. Reading throws std::runtime_error unless it finds what was written.
void write_each_page(std::span<char> bytes);
void read_each_page(std::span<const char> bytes);

/// A call is one connection with a heap of huge pages, its memory made by the server in the hand-shake, and touched by
/// both: the client writes a block that is its whole half, the server reads it and writes one that is its own, the
/// client reads that. `folder` must outlive it.
Sides mapped_heap_sides(ScratchFolder& folder);

/// The same without us: a call is one memfd of huge pages, mapped and touched by both: the caller writes the first
/// half, the other reads it and writes the second, the caller reads that.
Sides bare_mapping_sides();

}  // namespace vmrpc::bench
