#include "heap/cached_arenas.hpp"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <new>
#include <utility>

namespace vmrpc::heap {
namespace {

std::atomic<std::uint64_t> next_serial{1};  // a counter; orders nothing
std::atomic<std::uint32_t> forks{0};        // of this process's line; written in a child before it has threads

/// A cache that this thread uses.
struct Used {
    std::uint64_t serial;
    std::uint32_t forks;
    std::weak_ptr<CachedArenas> arenas;
    ThreadCache* cache;
};

constinit thread_local bool has_ended = false;  // this thread's list is destroyed

struct ThreadCaches {
    std::vector<Used> used;
    /// Not in a forked child: there the mutex may be held by a thread that is not.
    ~ThreadCaches() {
        has_ended = true;
        last_cache = kNoCache;
        for (const Used& one : used) {
            if (one.forks != forks.load(std::memory_order_relaxed)) continue;
            if (const auto arenas = one.arenas.lock()) arenas->retire(*one.cache);
        }
    }
};

ThreadCaches& thread_caches() {
    thread_local ThreadCaches caches;
    return caches;
}

// The child's only thread is the copy of the one that forked; its heaps are the parent's.
void in_child() {
    forks.fetch_add(1, std::memory_order_relaxed);
    last_cache = kNoCache;
}
[[maybe_unused]] const int installed = ::pthread_atfork(nullptr, nullptr, in_child);

/// When somebody else is in the heap.
constexpr std::int64_t kTrimAgainNs = 10'000'000;

layout::Extent countable(layout::Extent range) {
    return {range.offset, std::min(range.bytes, kMaxArenaBytes)};
}

}  // namespace

CachedArenas::CachedArenas(std::byte* segment, const layout::Extent& range, CommitOptions commit, bool is_remembered)
    : serial_(next_serial.fetch_add(1, std::memory_order_relaxed)),
      forks_(forks.load(std::memory_order_relaxed)),
      is_remembered_(is_remembered),
      segment_(segment),
      arenas_(countable(range), std::move(commit)),
      range_(arenas_.range()),
      states_(range_.bytes) {}

BlockStates::State CachedArenas::state_of(std::uint64_t offset) const {
    if (!layout::holds(range_, offset, 1) || (offset - range_.offset) % kMinBlockBytes != 0) return BlockStates::kNone;
    return states_.at(granule_of(offset)).load(std::memory_order_relaxed);
}

/// nullptr if there is no private memory for a cache, or the thread is about to end.
ThreadCache* CachedArenas::cache() noexcept {
    if (ThreadCache* recent = last_cache_of(serial_)) return recent;
    if (has_ended) return nullptr;
    ThreadCache* found = nullptr;
    try {
        auto& used = thread_caches().used;
        const auto mine =
            std::find_if(used.begin(), used.end(), [this](const Used& one) { return one.serial == serial_; });
        if (mine != used.end()) {
            found = mine->cache;
        } else {
            std::erase_if(used, [](const Used& old) { return old.arenas.expired(); });
            used.reserve(used.size() + 1);
            found = &adopt_cache();
            used.push_back({serial_, forks_, weak_from_this(), found});
        }
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
    if (is_remembered_) last_cache = {serial_, found};
    return found;
}

ThreadCache& CachedArenas::adopt_cache() {
    const std::lock_guard lock(mutex_);
    if (unused_caches_.empty()) {
        unused_caches_.reserve(caches_.size() + 1);  // so that retire() needs no memory
        caches_.push_back(std::make_unique<ThreadCache>(arena(), range_, states_));
        return *caches_.back();
    }
    ThreadCache& cache = *unused_caches_.back();
    unused_caches_.pop_back();
    return cache;
}

void CachedArenas::retire(ThreadCache& cache) {
    const std::lock_guard lock(mutex_);
    if (is_closed_) return;
    give_all_back(cache);
    unused_caches_.push_back(&cache);
}

void CachedArenas::close() {
    if (forks_ != forks.load(std::memory_order_relaxed)) return;  // the mutex may be held by a thread that is not here
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
}

void* CachedArenas::allocate_cached(std::size_t bytes, const Options& options) noexcept {
    if (options.alignment != kDefaultAlignment || options.heap != kMainHeap) return nullptr;
    ThreadCache* const recent = last_cache_of(serial_);
    return recent == nullptr ? nullptr : recent->take(bytes);
}

base::Result<void*> CachedArenas::allocate(std::size_t bytes, const Options& options) {
    VMRPC_TRY(check_request(bytes, options.alignment));
    const auto cached_class =
        options.heap == kMainHeap ? cached_class_of(bytes, options.alignment) : std::optional<std::size_t>{};
    ThreadCache* const mine = cache();
    if (cached_class && mine != nullptr) {
        if (void* block = mine->take_of(*cached_class)) return block;
    }
    const bool is_cached = cached_class && mine != nullptr && mine->capacity(*cached_class) != 0;
    const auto allocate_once = [&] {
        return is_cached ? allocate_batch(*cached_class, *mine) : allocate_locked(bytes, options);
    };
    const std::lock_guard lock(mutex_);
    auto block = allocate_once();
    if (!block && mine != nullptr && options.heap == kMainHeap) {
        give_all_back(*mine);  // whose spans may be what is missing
        block = allocate_once();
    }
    if (!block) ++failed_;
    return block;
}

/// Fills the thread's cache, which has none of the class, and takes one from it.
base::Result<void*> CachedArenas::allocate_batch(std::size_t cached_class, ThreadCache& cache) {
    const std::span<Granule> room = cache.room(cached_class);
    const auto taken = (*arenas_.find(kMainHeap))->take_blocks(cached_class, room);
    if (!taken) return tl::unexpected<base::Error>(taken.error());
    // The last one is the first to be handed out: in the order of addresses.
    std::reverse(room.begin(), room.begin() + static_cast<std::ptrdiff_t>(*taken));
    cache.fill(cached_class, *taken);
    return cache.take_of(cached_class);
}

base::Result<void*> CachedArenas::allocate_locked(std::size_t bytes, const Options& options) {
    const auto arena = arenas_.find(options.heap);
    if (!arena) return tl::unexpected<base::Error>(arena.error());
    const auto offset = (*arena)->allocate(bytes, options.alignment);
    if (!offset) return tl::unexpected<base::Error>(offset.error());
    if (options.heap == kMainHeap) {
        const auto cached_class = cached_class_of(bytes, options.alignment);
        states_.at(granule_of(*offset))
            .store(cached_class ? static_cast<BlockStates::State>(*cached_class + 1) : BlockStates::kLarge,
                   std::memory_order_relaxed);
    }
    return segment_ + *offset;
}

base::Status CachedArenas::free(std::uint64_t offset) {
    ThreadCache* const mine = cache();
    if (mine != nullptr && mine->give(segment_ + offset)) return {};
    const std::lock_guard lock(mutex_);
    return free_locked(offset, state_of(offset), mine);
}

base::Status CachedArenas::free_locked(std::uint64_t offset, BlockStates::State state, ThreadCache* cache) {
    if (state == BlockStates::kNone) return arenas_.free_in_heap(offset);
    states_.at(granule_of(offset)).store(BlockStates::kNone, std::memory_order_relaxed);
    const std::size_t cached_class = std::size_t{state} - 1;
    if (state == BlockStates::kLarge || cache == nullptr || cache->capacity(cached_class) == 0)
        return (*arenas_.find(kMainHeap))->free(offset);
    give_back(*cache, cached_class, cache->batch(cached_class));
    cache->put(cached_class, granule_of(offset));
    return {};
}

void CachedArenas::give_back(ThreadCache& cache, std::size_t cached_class, std::uint32_t most) {
    (*arenas_.find(kMainHeap))->give_blocks(cached_class, cache.take_oldest(cached_class, most));
}

void CachedArenas::give_all_back(ThreadCache& cache) {
    for (std::size_t i = 0; i < kCachedClasses; ++i) give_back(cache, i, cache.count(i));
}

base::Result<std::uint64_t> CachedArenas::usable_bytes(std::uint64_t offset) const {
    const BlockStates::State state = state_of(offset);
    if (state != BlockStates::kNone && state != BlockStates::kLarge) return cached_class_bytes(std::size_t{state} - 1);
    const std::lock_guard lock(mutex_);
    return arenas_.usable_bytes(offset, state == BlockStates::kLarge);
}

base::Result<HeapId> CachedArenas::setup(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    return arenas_.setup(bytes);
}

base::Status CachedArenas::destroy(HeapId heap) {
    const std::lock_guard lock(mutex_);
    return arenas_.destroy(heap);
}

std::uint64_t CachedArenas::trim(std::uint64_t most_bytes) {
    ThreadCache* const mine = cache();
    const std::lock_guard lock(mutex_);
    if (mine != nullptr) give_all_back(*mine);
    (*arenas_.find(kMainHeap))->close_empty_spans();
    return arenas_.committed().trim(most_bytes);
}

std::optional<std::int64_t> CachedArenas::trim_on_timer(std::uint64_t most_bytes) {
    // Whoever holds it may be waiting for a peer, and the thread with the timer must see whether that peer has died.
    const std::unique_lock lock(mutex_, std::try_to_lock);
    return lock.owns_lock() ? arenas_.committed().on_timer(most_bytes) : kTrimAgainNs;
}

base::Status CachedArenas::commit_all() {
    const std::lock_guard lock(mutex_);
    try {
        return arenas_.committed().commit_all();
    } catch (const std::bad_alloc&) {
        return no_private_memory();
    }
}

std::uint64_t CachedArenas::committed_bytes() const {
    const std::lock_guard lock(mutex_);
    return arenas_.committed().committed_bytes();
}

ArenaStats CachedArenas::stats() const {
    const std::lock_guard lock(mutex_);
    return without_kept(arenas_.stats());
}

base::Result<ArenaStats> CachedArenas::stats(HeapId heap) const {
    const std::lock_guard lock(mutex_);
    auto stats = arenas_.stats(heap);
    VMRPC_TRY(stats);
    if (heap == kMainHeap) return without_kept(*stats);
    stats->failed_allocations = failed_;
    return stats;
}

/// What threads keep is of the main heap, and not live.
ArenaStats CachedArenas::without_kept(ArenaStats stats) const {
    stats.failed_allocations = failed_;
    for (const auto& cache : caches_) {
        for (std::size_t i = 0; i < kCachedClasses; ++i) {
            const std::uint64_t kept = cache->count(i);
            stats.live_blocks -= kept;
            stats.live_bytes -= kept * cached_class_bytes(i);
        }
    }
    return stats;
}

}  // namespace vmrpc::heap
