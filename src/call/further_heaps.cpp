#include "call/further_heaps.hpp"

#include "call/addresses.hpp"

#include <algorithm>
#include <mutex>
#include <utility>

namespace vmrpc::call {

using layout::RemoteFreeQueue;
using layout::Side;

FurtherHeap::FurtherHeap(std::shared_ptr<const transport::AddedSegment> segment, const Config& config)
    : segment_(std::move(segment)), heap_(heap_config(config)) {
    trimmer_.attach(heap_);
}

/// One side has the whole arena, the other one none.
heap::HeapConfig FurtherHeap::heap_config(const Config& config) {
    const bool is_own = segment_->side == config.this_side;
    const layout::Extent none{layout::kFurtherArenaOffset, 0};
    auto* const queues = segment_->base() + layout::kFurtherQueuesOffset;
    const auto queue_of = [queues](Side owner) {
        return reinterpret_cast<RemoteFreeQueue*>(queues + index_of(owner) * layout::kQueueStride);
    };
    return {.segment = segment_->base(),
            .side = config.this_side,
            .own = is_own ? segment_->arena() : none,
            .peer = is_own ? none : segment_->arena(),
            .own_queue = queue_of(config.this_side),
            .peer_queue = queue_of(other(config.this_side)),
            .ring_peer = config.ring_peer,
            .on_violation = config.on_violation,
            .commit = {.pages = segment_->pages.get(),
                       .trim_after_ns = config.trim_after_ns,
                       .arm = [this](std::int64_t delay_ns) { return trimmer_.arm(delay_ns); }},
            .is_remembered = false};
}

bool FurtherHeap::holds(const void* pointer, std::uint64_t bytes) const {
    const auto offset = reinterpret_cast<std::uintptr_t>(pointer) - reinterpret_cast<std::uintptr_t>(segment_->base());
    return layout::holds(segment_->arena(), offset, bytes);
}

FurtherHeaps::Held FurtherHeaps::at(std::uint32_t index) const {
    return index >= 1 && index <= heaps_.size() ? heaps_[index - 1] : nullptr;
}

FurtherHeaps::Held FurtherHeaps::find(heap::HeapId heap) const {
    const std::shared_lock lock(mutex_);
    Held found = at(transport::index_of_heap(heap));
    return found != nullptr && found->segment().heap == heap ? found : nullptr;
}

FurtherHeaps::Held FurtherHeaps::holding(const void* pointer) const {
    const std::shared_lock lock(mutex_);
    for (const Held& heap : heaps_) {
        if (heap != nullptr && heap->holds(pointer, 1)) return heap;
    }
    return nullptr;
}

std::span<std::byte> FurtherHeaps::range_holding(const void* address) const {
    const std::shared_lock lock(mutex_);
    for (const Held& heap : heaps_) {
        if (heap != nullptr && heap->holds(address, 1))
            return {heap->segment().base() + heap->segment().arena().offset, heap->segment().arena_bytes};
    }
    return {};
}

std::optional<layout::WireOffset> FurtherHeaps::to_wire(const void* pointer, std::uint64_t bytes) const {
    const std::shared_lock lock(mutex_);
    std::uint16_t segment = 0;
    for (const Held& heap : heaps_) {
        ++segment;
        if (heap == nullptr || !heap->holds(pointer, bytes)) continue;
        const auto offset = static_cast<const std::byte*>(pointer) - heap->segment().base();
        return layout::to_wire(segment, static_cast<std::uint64_t>(offset));
    }
    return std::nullopt;
}

std::optional<std::byte*> FurtherHeaps::tame(layout::Wild<layout::WireOffset> where, layout::Wild<std::uint64_t> count,
                                             std::uint64_t element_bytes, std::uint64_t alignment) const {
    const std::uint16_t index = layout::segment_of(where);
    const std::shared_lock lock(mutex_);
    if (index < 1 || index > heaps_.size() || heaps_[index - 1] == nullptr) return std::nullopt;
    const transport::AddedSegment& segment = heaps_[index - 1]->segment();
    return layout::tame(segment.base(), segment.arena(), where, count, element_bytes, alignment, index);
}

bool FurtherHeaps::have_remote_frees() const {
    const std::shared_lock lock(mutex_);
    return std::any_of(heaps_.begin(), heaps_.end(),
                       [](const Held& heap) { return heap != nullptr && heap->heap().has_remote_frees(); });
}

void FurtherHeaps::for_each(const std::function<void(FurtherHeap&)>& use) const {
    std::array<Held, layout::kFurtherEntries> now;
    {
        const std::shared_lock lock(mutex_);
        now = heaps_;
    }
    for (const Held& heap : now) {
        if (heap != nullptr) use(*heap);
    }
}

FurtherHeaps::Held FurtherHeaps::take_out(heap::HeapId heap) noexcept {
    Held taken;
    {
        const std::unique_lock lock(mutex_);
        const std::uint32_t index = transport::index_of_heap(heap);
        Held found = at(index);
        if (found == nullptr || found->segment().heap != heap) return nullptr;
        taken = std::move(heaps_[index - 1]);
        count_.fetch_sub(1, std::memory_order_relaxed);
    }
    addresses_changed();
    return taken;
}

void FurtherHeaps::added(std::shared_ptr<const transport::AddedSegment> segment) {
    const std::uint32_t index = transport::index_of_heap(segment->heap);
    auto heap = std::make_shared<FurtherHeap>(std::move(segment), config_);
    const std::unique_lock lock(mutex_);
    heaps_[index - 1] = std::move(heap);
    count_.fetch_add(1, std::memory_order_release);
}

}  // namespace vmrpc::call
