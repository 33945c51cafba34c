// This side's arenas, with a cache of blocks for each thread that uses them.
#pragma once

#include "base/result.hpp"
#include "heap/block_states.hpp"
#include "heap/own_arenas.hpp"
#include "heap/thread_cache.hpp"
#include "layout/wild.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace vmrpc::heap {

/// How a block is to be allocated.
struct Options {
    std::size_t alignment = kDefaultAlignment;  // a power of two up to kMaxAlignment
    HeapId heap = kMainHeap;                    // of this side
};

/// Blocks of up to a span in the main heap come from the thread's cache, which takes them from the arena, and gives
/// them back, in batches; all else comes from the arenas under one private mutex. Any thread; a thread that ends gives
/// back what it kept. To be made by std::make_shared: threads may outlive it.
class CachedArenas : public std::enable_shared_from_this<CachedArenas> {
  public:
    /// `range` is this side's half of the heap in the segment that begins at `segment`. Throws std::bad_alloc.
    /// `commit` says where its memory comes from. `is_remembered`: last_cache_of() finds a thread's cache.
    CachedArenas(std::byte* segment, const layout::Extent& range, CommitOptions commit = {}, bool is_remembered = true);
    CachedArenas(const CachedArenas&) = delete;
    CachedArenas& operator=(const CachedArenas&) = delete;

    /// Of these arenas among all of this process, ever; see last_cache_of().
    [[nodiscard]] std::uint64_t serial() const { return serial_; }
    /// This side's half: where all blocks lie.
    [[nodiscard]] const layout::Extent& range() const { return range_; }

    /// A block from this thread's cache; nullptr if the request needs more than that.
    void* allocate_cached(std::size_t bytes, const Options& options) noexcept;
    /// A new block. Errors as Heap::allocate().
    base::Result<void*> allocate(std::size_t bytes, const Options& options);
    /// Frees the block that begins at `offset` of the segment; any value may be passed. VMRPC_BAD_FREE if no live block
    /// begins there. Needs no private memory.
    base::Status free(std::uint64_t offset);
    /// The size of the block that begins at `offset`, as allocated. VMRPC_BAD_FREE as free().
    [[nodiscard]] base::Result<std::uint64_t> usable_bytes(std::uint64_t offset) const;

    /// As OwnArenas.
    base::Result<HeapId> setup(std::uint64_t bytes);
    base::Status destroy(HeapId heap);
    /// Of all heaps together. What threads keep is not live.
    [[nodiscard]] ArenaStats stats() const;
    /// Of one. VMRPC_BAD_ARGUMENT if there is no such heap.
    [[nodiscard]] base::Result<ArenaStats> stats(HeapId heap) const;

    /// Gives at most `most_bytes` of what is empty back to the system, and what this thread keeps to the arena before.
    /// Returns how much it was.
    std::uint64_t trim(std::uint64_t most_bytes);
    /// CommittedSpans::on_timer(), without waiting for the mutex.
    std::optional<std::int64_t> trim_on_timer(std::uint64_t most_bytes);
    /// As CommittedSpans. VMRPC_OUT_OF_RESOURCES without private memory, too.
    base::Status commit_all();
    [[nodiscard]] std::uint64_t committed_bytes() const;

    /// A thread that has used this cache ends: its blocks go back, the cache to the next thread.
    void retire(ThreadCache& cache);
    /// The heap is gone: from here on retire() does nothing. In a forked child it does nothing anyway.
    void close();

  private:
    [[nodiscard]] ArenaStats without_kept(ArenaStats stats) const;
    /// What begins at an offset.
    [[nodiscard]] BlockStates::State state_of(std::uint64_t offset) const;
    [[nodiscard]] Granule granule_of(std::uint64_t offset) const {
        return static_cast<Granule>((offset - range_.offset) / kMinBlockBytes);
    }
    [[nodiscard]] std::byte* arena() const { return segment_ + range_.offset; }
    ThreadCache* cache() noexcept;
    ThreadCache& adopt_cache();
    base::Result<void*> allocate_batch(std::size_t cached_class, ThreadCache& cache);
    base::Result<void*> allocate_locked(std::size_t bytes, const Options& options);
    base::Status free_locked(std::uint64_t offset, BlockStates::State state, ThreadCache* cache);
    void give_back(ThreadCache& cache, std::size_t cached_class, std::uint32_t most);
    void give_all_back(ThreadCache& cache);

    const std::uint64_t serial_;
    const std::uint32_t forks_;  // of this process's line before these were made
    const bool is_remembered_;
    std::byte* const segment_;
    mutable std::mutex mutex_;
    OwnArenas arenas_;  // under mutex_, all to `caches_`
    const layout::Extent range_;
    BlockStates states_;
    bool is_closed_ = false;
    std::uint64_t failed_ = 0;  // allocations
    std::vector<std::unique_ptr<ThreadCache>> caches_;
    std::vector<ThreadCache*> unused_caches_;
};

}  // namespace vmrpc::heap
