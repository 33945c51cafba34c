// One end of a connection: its memory, its heap, and whether it is over. Both sides build on it.
#pragma once

#include "base/result.hpp"
#include "call/further_heaps.hpp"
#include "call/handle.hpp"
#include "call/trimmer.hpp"
#include "heap/heap.hpp"
#include "layout/region.hpp"
#include "layout/wild.hpp"
#include "transport/transport.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

namespace vmrpc::call {

using base::kLastStatus;

/// What a heap in a segment of its own is to be.
struct FurtherWish {
    std::uint64_t bytes = 0;  // rounded up to whole spans
    transport::Preparation preparation;
};

/// What both ends of a connection have. Threads: any, unless said otherwise.
class Endpoint : public vmrpc_connection {
  public:
    /// Of `commit`, the limit and the delay count. Where link.pages() is none, `pages` commits in its place.
    Endpoint(transport::Link& link, layout::Side side, const heap::CommitOptions& commit, heap::Pages* pages = nullptr);
    Endpoint(const Endpoint&) = delete;
    Endpoint& operator=(const Endpoint&) = delete;
    virtual ~Endpoint();

    [[nodiscard]] layout::Side side() const { return side_; }
    /// Who calls the functions that this side runs for the peer.
    [[nodiscard]] virtual const vmrpc_caller& caller() const = 0;
    [[nodiscard]] std::byte* segment() const { return segment_; }
    [[nodiscard]] const layout::RegionPlan& plan() const { return plan_; }
    [[nodiscard]] layout::ControlPage& control() const { return control_; }
    [[nodiscard]] layout::Lane& lane(std::uint32_t index) const;
    [[nodiscard]] bool trusted() const { return (plan_.flags & layout::kRegionTrusted) != 0; }
    /// Wakes the peer: to be called where must_ring() says so. A system call.
    void ring_peer();
    /// The heap that every connection has.
    [[nodiscard]] heap::Heap& heap() { return *heap_; }
    /// What spans and pointers may reach, in segment 0: RPC stacks and heap.
    [[nodiscard]] const layout::Extent& data() const { return data_; }
    /// What to add to a pointer of the peer's into a heap to get one of ours. Errors: VMRPC_BAD_ARGUMENT.
    [[nodiscard]] base::Result<std::ptrdiff_t> offset(heap::HeapId heap) const;

    // Of all heaps, those in segments of their own too. Where the default one is meant, each does what heap() does.
    /// Errors: those of Heap::allocate(); VMRPC_BAD_ARGUMENT also for a heap of the peer's.
    base::Result<void*> allocate(std::size_t bytes, const heap::Options& options);
    base::Status release(void* block);
    [[nodiscard]] base::Result<std::uint64_t> usable_bytes(const void* block) const;
    [[nodiscard]] base::Result<heap::HeapStats> heap_stats(heap::HeapId heap) const;
    void trim();
    /// Takes what the peer has freed. Errors: VMRPC_POISONED.
    base::Status drain();
    /// Whether drain() has something to take.
    [[nodiscard]] bool has_remote_frees() const {
        return heap_->has_remote_frees() || (further_.any() && further_.have_remote_frees());
    }

    /// Sets a heap up in a segment of its own, of which this side is the owner. Blocks until the peer has mapped it.
    /// Errors: those of Link::add_segment(), VMRPC_BAD_ARGUMENT for an impossible size.
    base::Result<heap::HeapId> set_up_heap(const FurtherWish& wish);
    /// Ends a heap of this side's: one in a segment of its own, or one inside this side's arena. Errors: VMRPC_BUSY,
    /// VMRPC_BAD_ARGUMENT.
    base::Status destroy_heap(heap::HeapId heap);
    /// The peer has given a heap of its up. To be called while no function of this connection runs.
    void drop_heap(heap::HeapId heap);

    /// Commits this side's arena, if it is to be prefaulted, and prepares the whole heap in this process. Blocks while
    /// the system does it. Errors: those of Heap::commit_all() and Link::prepare().
    base::Status prepare_heap(transport::Link& link, const transport::Preparation& how);

    /// The place of `bytes` bytes at `pointer` if they lie in data() or in a further heap, else nothing.
    [[nodiscard]] std::optional<layout::WireOffset> to_wire(const void* pointer, std::uint64_t bytes) const;

    /// Whether a place is on one of the RPC stacks.
    [[nodiscard]] bool is_on_stack(const void* place) const {
        const auto* const stacks = segment_ + plan_.stacks_offset;
        return place >= stacks && place < segment_ + plan_.arenas_offset;
    }

    /// The memory of segment 0, or of the further heap, in which spans and pointers may reach `address`; else empty.
    [[nodiscard]] std::span<std::byte> range_holding(const void* address) const;

    /// The address of `count` elements at `where`, if they lie in data() or in a further heap, aligned: see
    /// layout::tame().
    [[nodiscard]] std::optional<std::byte*> tame(layout::Wild<layout::WireOffset> where,
                                                 layout::Wild<std::uint64_t> count, std::uint64_t element_bytes,
                                                 std::uint64_t alignment) const {
        const auto place = layout::tame(segment_, data_, where, count, element_bytes, alignment);
        if (place || layout::segment_of(where) == 0) [[likely]]
            return place;
        return further_.tame(where, count, element_bytes, alignment);
    }

    /// A pointer of wire's if `bytes` bytes there lie in data() or in a further heap, aligned; else nullptr.
    [[nodiscard]] std::byte* from_wire(layout::WireOffset wire, std::uint64_t bytes, std::uint64_t alignment) const;

    /// Whether the connection has ended. One load.
    [[nodiscard]] bool is_over() const {
        // acquire: pairs with the release in end()
        return over_.load(std::memory_order_acquire);
    }
    /// Nothing while the connection is usable; else why not.
    [[nodiscard]] base::Status usable() const {
        if (is_over()) [[unlikely]]
            return why_over();
        return {};
    }
    /// Ends the connection for this process: the first reason stays. Returns whether this call was the first.
    bool end(base::Error reason);

  protected:
    /// No memory is given back any more. To be called before anything that the link's pages need is destroyed.
    void stop_trimming() noexcept { trimmer_.stop(); }
    /// Lets calls go the short way, if the connection is not over: open_serial.
    void open(std::uint64_t serial);
    /// The peer broke a rule in the heap's queue. Called without a lock, at most once.
    virtual void on_violation(base::Error error) = 0;

  private:
    [[nodiscard]] base::Status why_over() const;

    [[nodiscard]] base::Result<FurtherHeaps::Held> own_further(heap::HeapId heap) const;
    base::Status prepare(const transport::AddedSegment& segment, const transport::Preparation& how);

    transport::Link& link_;  // not used by the destructor
    layout::Side side_;
    std::byte* segment_;
    layout::RegionPlan plan_;  // private: the shared copy is the peer's to scribble on
    layout::ControlPage& control_;
    std::uint64_t peer_segment_address_;
    layout::Extent data_;
    Trimmer trimmer_;
    std::unique_ptr<heap::Heap> heap_;
    FurtherHeaps further_;
    std::atomic<bool> over_{false};
    mutable std::mutex mutex_;
    base::Error reason_;  // under mutex_
};

/// Whether the peer must be rung: it said that it is about to sleep, and the same lane has not rung it for that yet. To
/// be called after publishing something: contains the full fence that pairs with the peer's between arming and its last
/// look. `seen` is what this lane remembers.
inline bool is_to_ring(const layout::RingMe& peer, std::uint32_t seen) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return peer.generation.load_relaxed() != seen;
}

/// The same, and remembers that it is rung now.
inline bool must_ring(const layout::RingMe& peer, std::uint32_t& seen) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const std::uint32_t generation = peer.generation.load_relaxed();
    if (generation == seen) return false;
    seen = generation;
    return true;
}

}  // namespace vmrpc::call
