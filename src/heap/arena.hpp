// One side's half of a heap, or a bounded part of it: blocks of any size in a range of a segment.
#pragma once

#include "base/result.hpp"
#include "heap/block_states.hpp"
#include "heap/committed_spans.hpp"
#include "heap/free_runs.hpp"
#include "heap/size_class.hpp"
#include "heap/small_span.hpp"
#include "layout/wild.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <string_view>

namespace vmrpc::heap {

inline constexpr std::size_t kDefaultAlignment = 16;

/// What an arena holds. Bytes are those of the blocks as allocated, which is what was asked for, rounded up.
struct ArenaStats {
    std::uint64_t reserved_bytes = 0;
    std::uint64_t live_bytes = 0;
    std::uint64_t live_blocks = 0;
    std::uint64_t failed_allocations = 0;  // for want of room or of private memory
};

/// VMRPC_OUT_OF_RESOURCES: there is no private memory for the bookkeeping. Its text is short enough to need none.
inline tl::unexpected<base::Error> no_private_memory() {
    return base::fail(VMRPC_OUT_OF_RESOURCES, "out of memory");
}

/// VMRPC_BAD_FREE: why no live block begins at an offset.
base::Error no_block(std::uint64_t offset, std::string_view why);

/// VMRPC_BAD_ARGUMENT if no arena could ever serve the request: an alignment that is not a power of two up to
/// kMaxAlignment, or more bytes than an offset can span.
base::Status check_request(std::uint64_t bytes, std::uint64_t alignment);

/// Allocates from a range of a segment of which this side owns every block. All bookkeeping is private: the range
/// itself is neither read nor written, and the peer can change nothing but data. Not thread safe: its owner locks.
/// Nothing blocks. Offsets are in bytes from the segment's base, and alignment is the offset's.
class Arena {
  public:
    /// Uses the whole spans of `range`, a range of a segment; `committed`, which outlives it, tells which of them have
    /// memory (nullptr: all). Throws std::bad_alloc.
    explicit Arena(layout::Extent range, CommittedSpans* committed = nullptr);
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    /// The offset of a new block of at least `bytes` bytes (0 gives a distinct block of the smallest size) at a
    /// multiple of `alignment`. Its contents are what was there. Errors, with nothing changed: VMRPC_BAD_ARGUMENT as
    /// check_request(); VMRPC_HEAP_FULL; VMRPC_OUT_OF_RESOURCES if there is no private memory for the bookkeeping.
    base::Result<std::uint64_t> allocate(std::uint64_t bytes, std::uint64_t alignment = kDefaultAlignment);

    /// A block of whole spans that is not to be committed: another arena's range. Errors as allocate().
    base::Result<std::uint64_t> reserve(std::uint64_t bytes);

    /// Frees the block that begins at `offset`; any value may be passed. VMRPC_BAD_FREE if none does: outside of the
    /// arena, in the middle of a block, never allocated, or freed before. Needs no memory.
    base::Status free(std::uint64_t offset);

    /// The size of the block that begins at `offset`, in bytes: what was asked for, rounded up. VMRPC_BAD_FREE as
    /// free().
    [[nodiscard]] base::Result<std::uint64_t> usable_bytes(std::uint64_t offset) const;

    /// Allocates up to `granules.size()` (at least 1) blocks of a cached class at once, each as allocate() would, and
    /// writes where they begin, lowest first. Returns how many: what spans that are open hold, or one fresh span.
    /// Errors as allocate(), if it is none.
    base::Result<std::size_t> take_blocks(std::size_t cached_class, std::span<Granule> granules);

    /// Frees such blocks. What is not allocated, or of another class, was freed twice at the same time, by two threads
    /// or both sides (see BlockStates): nothing happens to it.
    void give_blocks(std::size_t cached_class, std::span<const Granule> granules);

    /// Makes runs of the empty spans that size classes keep for their next block.
    void close_empty_spans();

    [[nodiscard]] const layout::Extent& range() const { return range_; }
    [[nodiscard]] const ArenaStats& stats() const { return stats_; }

  private:
    /// A live block.
    struct Block {
        Span* span = nullptr;
        std::uint32_t span_index = 0;
        std::uint32_t index = 0;  // in its span, if that is small
        [[nodiscard]] std::uint64_t bytes() const;
    };
    [[nodiscard]] base::Result<Block> find(std::uint64_t offset) const;
    [[nodiscard]] base::Result<Block> find_small(Block block, std::uint64_t offset) const;
    void give_small(SizeClass size_class, Granule granule);
    std::size_t take_small(SizeClass size_class, std::span<Granule> granules);
    base::Result<std::uint64_t> allocate_checked(std::uint64_t bytes, std::uint64_t alignment);
    base::Result<std::uint64_t> allocate_small(SizeClass size_class);
    base::Result<std::uint64_t> allocate_large(std::uint64_t bytes, std::uint64_t alignment);
    std::uint64_t use_large(std::uint32_t first);
    bool open_span(SizeClass size_class);
    std::optional<std::uint32_t> take_run(std::uint64_t length, std::uint64_t alignment);
    std::optional<std::uint32_t> take_committed_run(std::uint64_t length, std::uint64_t alignment);
    void give_back_run(std::uint32_t first);
    void free_small(SmallSpan& small, std::uint32_t block);
    void close_span(SmallSpan& small);
    [[nodiscard]] base::Error full(std::uint64_t bytes, std::uint64_t alignment);
    [[nodiscard]] std::uint64_t offset_of(std::uint32_t span) const { return range_.offset + span * kSpanBytes; }

    layout::Extent range_;  // whole spans
    CommittedSpans* committed_;
    std::optional<base::Error> not_committed_;  // why the last run was not
    FreeRuns runs_;
    std::array<std::list<SmallSpan>, kClassCount> open_;  // by class: spans with a free block
    std::list<SmallSpan> full_;                           // spans without one, of all classes
    ArenaStats stats_;
};

}  // namespace vmrpc::heap
