// Further segments of a connection: each is a heap of one side's, added and taken away while the connection is open.
#pragma once

#include "base/result.hpp"
#include "heap/own_arenas.hpp"
#include "layout/region.hpp"
#include "transport/mapping.hpp"
#include "transport/memfd_pages.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>

namespace vmrpc::transport {

/// What a side wishes a segment to be.
struct SegmentWish {
    std::uint64_t arena_bytes = 0;  // whole spans, at most heap::kMaxArenaBytes
};

/// A further segment, mapped in this process for as long as the object lives. Constant once others know of it.
struct AddedSegment {
    /// Its heap's number, the same on both sides; see number_of_heap().
    heap::HeapId heap = 0;
    layout::Side side{};  // whose arena it has
    std::uint64_t arena_bytes = 0;
    std::uint64_t peer_address = 0;  // of its base in the peer
    std::shared_ptr<Mapping> mapping;
    notify::GuardedFd memory;            // where the arena is this side's
    std::unique_ptr<heap::Pages> pages;  // likewise; uses the memory

    [[nodiscard]] std::byte* base() const { return mapping->base(); }
    [[nodiscard]] layout::Extent arena() const { return {layout::kFurtherArenaOffset, arena_bytes}; }
};

/// The number of a heap in further segment `index` (1 to layout::kFurtherEntries). Serials tell one from those that
/// were in the same segment before, until they come again after 2^27.
constexpr heap::HeapId number_of_heap(std::uint32_t serial, std::uint32_t index) {
    return heap::kFurtherHeap | (serial << 4) % heap::kFurtherHeap | index;
}
/// The segment's index of a heap with such a number; 0 if it is none.
constexpr std::uint32_t index_of_heap(heap::HeapId heap) {
    return heap >= heap::kFurtherHeap ? heap % 16 : 0;
}
static_assert(layout::kFurtherEntries < 16);

/// What a link tells of the peer's segments. Called on the housekeeping thread, or in watch_segments(); must not block.
class SegmentEvents {
  public:
    virtual ~SegmentEvents() = default;
    /// The peer has added a segment, and may send places in it as soon as this has returned. Throws std::bad_alloc, and
    /// the peer's attempt fails.
    virtual void added(std::shared_ptr<const AddedSegment> segment) = 0;
    /// On the client's side: the server does not use the segment of this heap any more.
    virtual void ended(heap::HeapId heap) noexcept = 0;
};

}  // namespace vmrpc::transport
