#include "heap/thread_cache.hpp"

#include <algorithm>

namespace vmrpc::heap {
namespace {

constexpr std::uint64_t kMostKeptBytes = std::uint64_t{64} * 1024;       // of a class
constexpr std::uint64_t kMostKeptSpanBytes = std::uint64_t{256} * 1024;  // of the class of whole spans
constexpr std::uint32_t kMostKept = 512;
/// No class of a thread keeps more than this part of the arena.
constexpr std::uint64_t kPartOfArena = 1024;

std::uint32_t capacity_of(std::size_t cached_class, std::uint64_t arena_bytes) {
    const std::uint64_t most_bytes = cached_class == kSpanClass ? kMostKeptSpanBytes : kMostKeptBytes;
    const std::uint64_t kept_bytes = std::min(most_bytes, arena_bytes / kPartOfArena);
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(kept_bytes / cached_class_bytes(cached_class), kMostKept));
}

}  // namespace

[[gnu::tls_model("initial-exec")]] constinit thread_local LastCache last_cache = kNoCache;

ThreadCache::ThreadCache(std::byte* arena, const layout::Extent& range, const BlockStates& states)
    : arena_(arena), arena_bytes_(range.bytes), states_(states.data()) {
    std::size_t all = 0;
    for (std::size_t i = 0; i < kCachedClasses; ++i) all += bins_[i].capacity = capacity_of(i, range.bytes);
    granules_ = std::make_unique_for_overwrite<Granule[]>(all);      // NOLINT(*-avoid-c-arrays)
    oldest_ = std::make_unique_for_overwrite<Granule[]>(kMostKept);  // NOLINT(*-avoid-c-arrays)
    Granule* next = granules_.get();
    for (Bin& bin : bins_) {
        bin.granules = next;
        next += bin.capacity;
    }
}

std::span<const Granule> ThreadCache::take_oldest(std::size_t cached_class, std::uint32_t most) noexcept {
    Bin& bin = bins_[cached_class];
    const std::uint32_t count = bin.count.load(std::memory_order_relaxed);
    const std::uint32_t taken = std::min(most, count);
    std::copy_n(bin.granules, taken, oldest_.get());
    std::copy(bin.granules + taken, bin.granules + count, bin.granules);
    bin.count.store(count - taken, std::memory_order_relaxed);
    return {oldest_.get(), taken};
}

}  // namespace vmrpc::heap
