// The heaps of a connection that have segments of their own, as one side sees them.
#pragma once

#include "base/result.hpp"
#include "call/trimmer.hpp"
#include "heap/heap.hpp"
#include "layout/region.hpp"
#include "layout/wild.hpp"
#include "transport/transport.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <span>

namespace vmrpc::call {

/// One such heap. It is mapped for as long as somebody holds it.
class FurtherHeap {
  public:
    struct Config {
        layout::Side this_side{};
        std::int64_t trim_after_ns = heap::CommitOptions::kDefaultTrimAfterNs;
        std::function<void()> ring_peer;
        std::function<void(base::Error)> on_violation;
    };
    FurtherHeap(std::shared_ptr<const transport::AddedSegment> segment, const Config& config);
    FurtherHeap(const FurtherHeap&) = delete;
    FurtherHeap& operator=(const FurtherHeap&) = delete;
    ~FurtherHeap() { trimmer_.stop(); }

    [[nodiscard]] const transport::AddedSegment& segment() const { return *segment_; }
    [[nodiscard]] heap::Heap& heap() { return heap_; }
    /// Whether `bytes` bytes at `pointer` lie wholly in the arena.
    [[nodiscard]] bool holds(const void* pointer, std::uint64_t bytes) const;

  private:
    heap::HeapConfig heap_config(const Config& config);

    const std::shared_ptr<const transport::AddedSegment> segment_;
    Trimmer trimmer_;
    heap::Heap heap_;
};

/// All of them, by number and by place. Threads: any; a lock is taken only where there is one at all.
class FurtherHeaps final : public transport::SegmentEvents {
  public:
    explicit FurtherHeaps(FurtherHeap::Config config) : config_(std::move(config)) {}

    /// Whether there is any: one load. Who was given a place in one sees it.
    [[nodiscard]] bool any() const { return count_.load(std::memory_order_acquire) != 0; }

    using Held = std::shared_ptr<FurtherHeap>;
    /// By the heap's number; by a place in it; null if there is none.
    [[nodiscard]] Held find(heap::HeapId heap) const;
    [[nodiscard]] Held holding(const void* pointer) const;
    /// As Endpoint. Nothing is destroyed in these: they may be called with locks held.
    [[nodiscard]] std::span<std::byte> range_holding(const void* address) const;
    [[nodiscard]] std::optional<layout::WireOffset> to_wire(const void* pointer, std::uint64_t bytes) const;
    [[nodiscard]] std::optional<std::byte*> tame(layout::Wild<layout::WireOffset> where,
                                                 layout::Wild<std::uint64_t> count, std::uint64_t element_bytes,
                                                 std::uint64_t alignment) const;
    /// Whether the peer has freed something in one.
    [[nodiscard]] bool have_remote_frees() const;
    /// Calls `use` with each heap, of both sides. Without the lock.
    void for_each(const std::function<void(FurtherHeap&)>& use) const;

    /// Takes a heap out: places in it are none any more. Null if there is none.
    Held take_out(heap::HeapId heap) noexcept;

    // Of the link's. `added` also for this side's own.
    void added(std::shared_ptr<const transport::AddedSegment> segment) override;
    void ended(heap::HeapId heap) noexcept override { take_out(heap); }

  private:
    [[nodiscard]] Held at(std::uint32_t index) const;

    const FurtherHeap::Config config_;
    mutable std::shared_mutex mutex_;
    std::array<Held, layout::kFurtherEntries> heaps_;  // under mutex_; by segment index - 1
    /// Release when one is added, acquire in any(): who was told of it, outside of this class too, finds it.
    std::atomic<std::uint32_t> count_{0};
};

}  // namespace vmrpc::call
