// What an Endpoint does with its heaps, the default one and those in segments of their own.
#include "call/endpoint.hpp"
#include "heap/size_class.hpp"

#include <fmt/format.h>

#include <new>
#include <tuple>
#include <utility>

namespace vmrpc::call {
namespace {

std::ptrdiff_t distance(const std::byte* ours, std::uint64_t theirs) {
    return static_cast<std::ptrdiff_t>(reinterpret_cast<std::uintptr_t>(ours) - theirs);
}

bool is_further(heap::HeapId heap) {
    return heap >= heap::kFurtherHeap;
}

tl::unexpected<base::Error> no_heap(heap::HeapId heap) {
    return base::fail(VMRPC_BAD_ARGUMENT, fmt::format("the connection has no heap {:#x}: it was destroyed, or is "
                                                      "another connection's",
                                                      heap));
}

}  // namespace

base::Result<std::ptrdiff_t> Endpoint::offset(heap::HeapId heap) const {
    if (!is_further(heap)) return distance(segment_, peer_segment_address_);
    const auto further = further_.find(heap);
    if (further == nullptr) return no_heap(heap);
    return distance(further->segment().base(), further->segment().peer_address);
}

base::Result<FurtherHeaps::Held> Endpoint::own_further(heap::HeapId heap) const {
    auto further = further_.find(heap);
    if (further == nullptr) return no_heap(heap);
    if (further->segment().side == side_) return further;
    return base::fail(VMRPC_BAD_ARGUMENT,
                      fmt::format("heap {:#x} is the other side's: only the side that set a heap up allocates there, "
                                  "and destroys it",
                                  heap));
}

base::Result<void*> Endpoint::allocate(std::size_t bytes, const heap::Options& options) {
    if (!is_further(options.heap)) return heap_->allocate(bytes, options);
    const auto further = own_further(options.heap);
    VMRPC_TRY(further);
    return (*further)->heap().allocate(bytes, {.alignment = options.alignment});
}

base::Status Endpoint::release(void* block) {
    if (further_.any() && !heap_->contains(block, 1)) {
        if (const auto further = further_.holding(block)) return further->heap().release(block);
    }
    return heap_->release(block);
}

base::Result<std::uint64_t> Endpoint::usable_bytes(const void* block) const {
    if (further_.any() && !heap_->contains(block, 1)) {
        if (const auto further = further_.holding(block)) return further->heap().usable_bytes(block);
    }
    return heap_->usable_bytes(block);
}

base::Result<heap::HeapStats> Endpoint::heap_stats(heap::HeapId heap) const {
    if (!is_further(heap)) return heap_->stats(heap);
    const auto further = own_further(heap);
    VMRPC_TRY(further);
    return (*further)->heap().stats();
}

void Endpoint::trim() {
    heap_->trim();
    if (further_.any()) further_.for_each([](FurtherHeap& further) { further.heap().trim(); });
}

base::Status Endpoint::drain() {
    base::Status drained = heap_->drain();
    // The peer's too: what was freed there and had no room is tried again.
    if (further_.any()) {
        further_.for_each([&drained](FurtherHeap& further) {
            if (auto one = further.heap().drain(); !one && drained) drained = std::move(one);
        });
    }
    return drained;
}

base::Result<heap::HeapId> Endpoint::set_up_heap(const FurtherWish& wish) {
    if (wish.bytes == 0 || wish.bytes > heap::kMaxArenaBytes)
        return base::fail(VMRPC_BAD_ARGUMENT, fmt::format("a heap of {} bytes: say how large it is to be, at most {}",
                                                          wish.bytes, heap::kMaxArenaBytes));
    auto segment = link_.add_segment({.arena_bytes = heap::round_up(wish.bytes, heap::kSpanBytes)});
    VMRPC_TRY(segment);
    const heap::HeapId heap = (*segment)->heap;
    base::Status made;
    try {
        further_.added(*segment);
        made = prepare(**segment, wish.preparation);
    } catch (const std::bad_alloc&) {
        made = heap::no_private_memory();
    }
    if (made) return heap;
    drop_heap(heap);
    return tl::unexpected<base::Error>(std::move(made).error());
}

base::Status Endpoint::prepare(const transport::AddedSegment& segment, const transport::Preparation& how) {
    if (how.prefault) VMRPC_TRY(further_.find(segment.heap)->heap().commit_all());
    return transport::prepare_memory(segment.base() + segment.arena().offset, segment.arena_bytes, how);
}

base::Status Endpoint::destroy_heap(heap::HeapId heap) {
    if (!is_further(heap)) return heap_->destroy(heap);
    const auto further = own_further(heap);
    VMRPC_TRY(further);
    std::ignore = (*further)->heap().drain();  // the peer may have freed the last blocks of it
    const heap::ArenaStats held = (*further)->heap().stats().own;
    if (held.live_blocks != 0)
        return base::fail(VMRPC_BUSY, fmt::format("heap {:#x} has {} live blocks ({} bytes): free them first, on "
                                                  "either side",
                                                  heap, held.live_blocks, held.live_bytes));
    drop_heap(heap);
    return {};
}

void Endpoint::drop_heap(heap::HeapId heap) {
    std::ignore = further_.take_out(heap);
    link_.end_segment(heap);
}

}  // namespace vmrpc::call
