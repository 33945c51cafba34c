// Blocks that one thread keeps for itself, so that it allocates and frees without a lock.
#pragma once

#include "heap/block_states.hpp"
#include "heap/size_class.hpp"
#include "layout/wild.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace vmrpc::heap {

/// Free blocks of one arena, by class. They were taken from the arena ahead, or freed by the thread; to the arena they
/// are allocated, to everybody else they are not live. One thread at a time; the counts may be read by others.
class alignas(64) ThreadCache {
  public:
    /// For the arena whose `range` of the segment is at `arena` in this process. Throws std::bad_alloc.
    ThreadCache(std::byte* arena, const layout::Extent& range, const BlockStates& states);

    /// A block of at least `bytes` bytes at the default alignment; nullptr if none is here.
    void* take(std::size_t bytes) noexcept {
        if (bytes > kSpanBytes) [[unlikely]]
            return nullptr;
        return take_of(cached_class_of(bytes));
    }
    /// A block of that cached class; nullptr if none is here.
    void* take_of(std::size_t cached_class) noexcept {
        Bin& bin = bins_[cached_class];
        const std::uint32_t count = bin.count.load(std::memory_order_relaxed);
        if (count == 0) [[unlikely]]
            return nullptr;
        bin.count.store(count - 1, std::memory_order_relaxed);
        const Granule granule = bin.granules[count - 1];
        states_[granule].store(static_cast<BlockStates::State>(cached_class + 1), std::memory_order_relaxed);
        return arena_ + granule * kMinBlockBytes;
    }

    /// Takes a block that ends here. False, and nothing is done, if `pointer` is no live block of a class, or no more
    /// of its class are kept.
    bool give(const void* pointer) noexcept {
        const auto offset = reinterpret_cast<std::uintptr_t>(pointer) - reinterpret_cast<std::uintptr_t>(arena_);
        if (offset >= arena_bytes_ || offset % kMinBlockBytes != 0) [[unlikely]]
            return false;
        const auto granule = static_cast<Granule>(offset / kMinBlockBytes);
        const std::size_t cached_class = std::size_t{states_[granule].load(std::memory_order_relaxed)} - 1;
        if (cached_class >= kCachedClasses) [[unlikely]]
            return false;
        Bin& bin = bins_[cached_class];
        const std::uint32_t count = bin.count.load(std::memory_order_relaxed);
        if (count >= bin.capacity) [[unlikely]]
            return false;
        states_[granule].store(BlockStates::kNone, std::memory_order_relaxed);
        bin.granules[count] = granule;
        bin.count.store(count + 1, std::memory_order_relaxed);
        return true;
    }

    /// How many blocks of a class are kept at most, and how many are to be taken from the arena, or given back to it,
    /// at once: 0 and 1 for a class of which an arena of this size has too few to keep any.
    [[nodiscard]] std::uint32_t capacity(std::size_t cached_class) const { return bins_[cached_class].capacity; }
    [[nodiscard]] std::uint32_t batch(std::size_t cached_class) const { return (bins_[cached_class].capacity + 1) / 2; }
    /// Blocks of that class that are here. Any thread: a snapshot.
    [[nodiscard]] std::uint32_t count(std::size_t cached_class) const {
        return bins_[cached_class].count.load(std::memory_order_relaxed);
    }
    /// Puts a block here that is not live. Requires that there is room.
    void put(std::size_t cached_class, Granule granule) noexcept {
        Bin& bin = bins_[cached_class];
        const std::uint32_t count = bin.count.load(std::memory_order_relaxed);
        bin.granules[count] = granule;
        bin.count.store(count + 1, std::memory_order_relaxed);
    }
    /// Where a batch of blocks of a class of which none is here is to be written; then fill() with their number. The
    /// last one is the first to be taken.
    [[nodiscard]] std::span<Granule> room(std::size_t cached_class) const {
        return {bins_[cached_class].granules, batch(cached_class)};
    }
    void fill(std::size_t cached_class, std::size_t count) noexcept {
        bins_[cached_class].count.store(static_cast<std::uint32_t>(count), std::memory_order_relaxed);
    }
    /// Takes out the `most` blocks that have been here longest, to be given to the arena. Valid until the next change.
    std::span<const Granule> take_oldest(std::size_t cached_class, std::uint32_t most) noexcept;

  private:
    struct Bin {
        // Written by the thread; read by others for statistics, so relaxed and paired with nothing.
        std::atomic<std::uint32_t> count{0};
        std::uint32_t capacity = 0;
        Granule* granules = nullptr;
    };

    std::byte* arena_;
    std::uint64_t arena_bytes_;
    std::atomic<BlockStates::State>* states_;
    std::array<Bin, kCachedClasses> bins_;
    std::unique_ptr<Granule[]> granules_;  // NOLINT(*-avoid-c-arrays): of all bins
    std::unique_ptr<Granule[]> oldest_;    // NOLINT(*-avoid-c-arrays): what take_oldest() has taken out
};

/// The cache that this thread used last, and the serial of the arenas that it is of.
struct LastCache {
    std::uint64_t serial;
    ThreadCache* cache;
};
/// Serials are never 0 nor this.
inline constexpr std::uint64_t kNoSerial = UINT64_MAX;
inline constexpr LastCache kNoCache{kNoSerial, nullptr};
/// Forgotten in a forked child: the heaps are its parent's.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local LastCache last_cache;

/// This thread's cache of the arenas with that serial, if it used no other since. They must still be there.
[[nodiscard]] inline ThreadCache* last_cache_of(std::uint64_t serial) noexcept {
    return last_cache.serial == serial ? last_cache.cache : nullptr;
}

}  // namespace vmrpc::heap
