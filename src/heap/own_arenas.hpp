// The arenas that one side owns: its half of the RPC heap, and the heaps that it has set up within it.
#pragma once

#include "base/result.hpp"
#include "heap/arena.hpp"
#include "layout/wild.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

namespace vmrpc::heap {

/// Names a heap on the side that set it up.
using HeapId = std::uint32_t;
/// The heap that every connection has.
inline constexpr HeapId kMainHeap = 0;
/// Ids from here on are those of heaps in segments of their own, which are not made here.
inline constexpr HeapId kFurtherHeap = HeapId{1} << 31;

/// A heap that is set up is a large block of the main arena, run by an arena of its own. Not thread safe: its owner
/// locks.
class OwnArenas {
  public:
    /// `range` is this side's half, of whole spans. Throws std::bad_alloc.
    explicit OwnArenas(layout::Extent range, CommitOptions commit = {})
        : committed_(range, std::move(commit)), main_(range, &committed_) {}

    /// The arena of a heap; it lives until destroy(). VMRPC_BAD_ARGUMENT if there is no such heap.
    base::Result<Arena*> find(HeapId heap);

    /// Frees the block that begins at `offset` in a heap that was set up. VMRPC_BAD_FREE as Arena::free(), and if the
    /// offset lies in none.
    base::Status free_in_heap(std::uint64_t offset);
    /// The size of the block that begins at `offset` in such a heap, or, if `in_main`, in the main one. VMRPC_BAD_FREE
    /// as free_in_heap().
    [[nodiscard]] base::Result<std::uint64_t> usable_bytes(std::uint64_t offset, bool in_main) const;

    /// Sets up a heap of `bytes` bytes, rounded up to whole spans. VMRPC_BAD_ARGUMENT for 0 or an impossible size,
    /// VMRPC_HEAP_FULL if the main arena has no such free run, VMRPC_OUT_OF_RESOURCES without private memory.
    base::Result<HeapId> setup(std::uint64_t bytes);

    /// Gives a heap's range back. VMRPC_BAD_ARGUMENT for kMainHeap or an unknown heap; VMRPC_BUSY, with their number
    /// in the text, while blocks live in it.
    base::Status destroy(HeapId heap);

    /// Of all heaps that there are together; the ranges of those that were set up do not count as blocks.
    [[nodiscard]] ArenaStats stats() const;
    /// Of one of them. VMRPC_BAD_ARGUMENT if there is no such heap.
    [[nodiscard]] base::Result<ArenaStats> stats(HeapId heap) const;

    /// Which spans of all heaps have memory.
    [[nodiscard]] CommittedSpans& committed() { return committed_; }
    [[nodiscard]] const CommittedSpans& committed() const { return committed_; }

    /// This side's half: where all heaps lie.
    [[nodiscard]] const layout::Extent& range() const { return main_.range(); }

  private:
    [[nodiscard]] Arena* heap_at(std::uint64_t offset) const;
    [[nodiscard]] base::Error not_live(std::uint64_t offset) const;
    HeapId adopt(std::unique_ptr<Arena> arena);

    CommittedSpans committed_;
    Arena main_;
    std::map<HeapId, std::unique_ptr<Arena>> by_id_;
    std::map<std::uint64_t, Arena*> by_offset_;  // of their first byte
    HeapId last_id_ = kMainHeap;
};

}  // namespace vmrpc::heap
