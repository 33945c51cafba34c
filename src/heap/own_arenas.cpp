#include "heap/own_arenas.hpp"

#include <fmt/format.h>

#include <iterator>
#include <new>
#include <utility>

namespace vmrpc::heap {
namespace {

tl::unexpected<base::Error> no_heap(HeapId heap) {
    return base::fail(VMRPC_BAD_ARGUMENT,
                      fmt::format("there is no heap {} on this side: it was destroyed, or is the other side's", heap));
}

}  // namespace

base::Result<Arena*> OwnArenas::find(HeapId heap) {
    if (heap == kMainHeap) return &main_;
    const auto found = by_id_.find(heap);
    if (found == by_id_.end()) return no_heap(heap);
    return found->second.get();
}

/// The heap that was set up there, or nullptr.
Arena* OwnArenas::heap_at(std::uint64_t offset) const {
    const auto after = by_offset_.upper_bound(offset);
    if (after == by_offset_.begin()) return nullptr;
    Arena* candidate = std::prev(after)->second;
    return layout::holds(candidate->range(), offset, 1) ? candidate : nullptr;
}

/// Of what lies in no heap that was set up, and is not live in the main one: a thread may keep it.
base::Error OwnArenas::not_live(std::uint64_t offset) const {
    const auto kept = main_.usable_bytes(offset);
    return kept ? no_block(offset, "it was freed before") : kept.error();
}

base::Status OwnArenas::free_in_heap(std::uint64_t offset) {
    Arena* heap = heap_at(offset);
    if (heap == nullptr) return tl::unexpected<base::Error>(not_live(offset));
    return heap->free(offset);
}

base::Result<std::uint64_t> OwnArenas::usable_bytes(std::uint64_t offset, bool in_main) const {
    if (in_main) return main_.usable_bytes(offset);
    const Arena* heap = heap_at(offset);
    if (heap == nullptr) return tl::unexpected<base::Error>(not_live(offset));
    return heap->usable_bytes(offset);
}

base::Result<HeapId> OwnArenas::setup(std::uint64_t bytes) {
    if (bytes == 0) return base::fail(VMRPC_BAD_ARGUMENT, "a heap of 0 bytes: say how large it is to be");
    VMRPC_TRY(check_request(bytes, kSpanBytes));
    const std::uint64_t whole_bytes = round_up(bytes, kSpanBytes);
    const auto offset = main_.reserve(whole_bytes);
    if (!offset) return tl::unexpected<base::Error>(offset.error());
    try {
        return adopt(std::make_unique<Arena>(layout::Extent{*offset, whole_bytes}, &committed_));
    } catch (const std::bad_alloc&) {
        by_offset_.erase(*offset);
        [[maybe_unused]] const auto freed = main_.free(*offset);  // cannot fail: it was just allocated
        return no_private_memory();
    }
}

/// Numbers are not used again soon, so that a heap's stale number does not name another.
HeapId OwnArenas::adopt(std::unique_ptr<Arena> arena) {
    do last_id_ = (last_id_ + 1) % kFurtherHeap;
    while (last_id_ == kMainHeap || by_id_.contains(last_id_));
    by_offset_.emplace(arena->range().offset, arena.get());
    by_id_.emplace(last_id_, std::move(arena));
    return last_id_;
}

base::Status OwnArenas::destroy(HeapId heap) {
    if (heap == kMainHeap)
        return base::fail(VMRPC_BAD_ARGUMENT, "heap 0 is the connection's own: it goes with the connection");
    const auto found = by_id_.find(heap);
    if (found == by_id_.end()) return no_heap(heap);
    const ArenaStats held = found->second->stats();
    if (held.live_blocks != 0)
        return base::fail(VMRPC_BUSY, fmt::format("heap {} has {} live blocks ({} bytes): free them first, on either "
                                                  "side",
                                                  heap, held.live_blocks, held.live_bytes));
    const std::uint64_t offset = found->second->range().offset;
    by_offset_.erase(offset);
    by_id_.erase(found);
    return main_.free(offset);
}

ArenaStats OwnArenas::stats() const {
    ArenaStats all = main_.stats();
    for (const auto& [heap, arena] : by_id_) {
        const ArenaStats& one = arena->stats();
        all.live_bytes += one.live_bytes - one.reserved_bytes;
        all.live_blocks += one.live_blocks - 1;
        all.failed_allocations += one.failed_allocations;
    }
    return all;
}

base::Result<ArenaStats> OwnArenas::stats(HeapId heap) const {
    if (heap != kMainHeap) {
        const auto found = by_id_.find(heap);
        if (found == by_id_.end()) return no_heap(heap);
        return found->second->stats();
    }
    ArenaStats main = main_.stats();
    for (const auto& [id, within] : by_id_) {
        main.live_bytes -= within->range().bytes;
        --main.live_blocks;
    }
    return main;
}

}  // namespace vmrpc::heap
