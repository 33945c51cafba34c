// One end of a connection: its memory, its heap, and whether it is over. Both sides build on it.
#pragma once

#include "base/result.hpp"
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

namespace vmrpc::call {

/// Statuses have three digits, of which the first is the remedy.
inline constexpr std::uint32_t kLastStatus = 499;

/// What both ends of a connection have. Threads: any, unless said otherwise.
class Endpoint : public vmrpc_connection {
  public:
    /// Of `commit`, the limit and the delay count. Where link.pages() is none, `pages` commits in its place.
    Endpoint(transport::Link& link, layout::Side side, const heap::CommitOptions& commit, heap::Pages* pages = nullptr);
    Endpoint(const Endpoint&) = delete;
    Endpoint& operator=(const Endpoint&) = delete;
    virtual ~Endpoint();

    [[nodiscard]] layout::Side side() const { return side_; }
    [[nodiscard]] std::byte* segment() const { return segment_; }
    [[nodiscard]] const layout::RegionPlan& plan() const { return plan_; }
    [[nodiscard]] layout::ControlPage& control() const { return control_; }
    [[nodiscard]] layout::Lane& lane(std::uint32_t index) const;
    [[nodiscard]] bool trusted() const { return (plan_.flags & layout::kRegionTrusted) != 0; }
    [[nodiscard]] heap::Heap& heap() { return *heap_; }
    /// What spans and pointers may reach: RPC stacks and heap.
    [[nodiscard]] const layout::Extent& data() const { return data_; }
    /// What to add to a pointer of the peer's to get one of ours.
    [[nodiscard]] std::ptrdiff_t offset() const;

    /// Commits this side's arena, if it is to be prefaulted, and prepares the whole heap in this process. Blocks while
    /// the system does it. Errors: those of Heap::commit_all() and Link::prepare().
    base::Status prepare_heap(transport::Link& link, const transport::Preparation& how);

    /// The place of `bytes` bytes at `pointer` if they lie in data(), else nothing.
    [[nodiscard]] std::optional<layout::WireOffset> to_wire(const void* pointer, std::uint64_t bytes) const;

    /// Whether a place is on one of the RPC stacks.
    [[nodiscard]] bool is_on_stack(const void* place) const {
        const auto* const stacks = segment_ + plan_.stacks_offset;
        return place >= stacks && place < segment_ + plan_.arenas_offset;
    }

    /// A pointer of wire's if `bytes` bytes there lie in data(), aligned; else nullptr.
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

    layout::Side side_;
    std::byte* segment_;
    layout::RegionPlan plan_;  // private: the shared copy is the peer's to scribble on
    layout::ControlPage& control_;
    std::uint64_t peer_segment_address_;
    layout::Extent data_;
    Trimmer trimmer_;
    std::unique_ptr<heap::Heap> heap_;
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
