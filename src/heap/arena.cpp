#include "heap/arena.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <new>
#include <string_view>
#include <utility>

namespace vmrpc::heap {
namespace {

constexpr std::uint64_t kMaxBytes = layout::kWireOffsetMask;

}  // namespace

base::Error no_block(std::uint64_t offset, std::string_view why) {
    return {VMRPC_BAD_FREE, fmt::format("no live block begins at offset {}: {}", offset, why)};
}

base::Status check_request(std::uint64_t bytes, std::uint64_t alignment) {
    if (!std::has_single_bit(alignment) || alignment > kMaxAlignment)
        return base::fail(VMRPC_BAD_ARGUMENT, fmt::format("alignment {}: it must be a power of two, and at most {}",
                                                          alignment, kMaxAlignment));
    if (bytes > kMaxBytes)
        return base::fail(VMRPC_BAD_ARGUMENT,
                          fmt::format("a block of {} bytes: no heap can have more than {} bytes; was a negative number "
                                      "converted?",
                                      bytes, kMaxBytes));
    return {};
}

Arena::Arena(layout::Extent range, CommittedSpans* committed)
    : range_(whole_spans(range)),
      committed_(committed),
      runs_(range_.offset / kSpanBytes, static_cast<std::uint32_t>(range_.bytes / kSpanBytes)) {
    stats_.reserved_bytes = range_.bytes;
}

base::Result<std::uint64_t> Arena::allocate(std::uint64_t bytes, std::uint64_t alignment) {
    VMRPC_TRY(check_request(bytes, alignment));
    try {
        auto offset = allocate_checked(bytes, alignment);
        if (!offset) ++stats_.failed_allocations;
        return offset;
    } catch (const std::bad_alloc&) {
        ++stats_.failed_allocations;
        return no_private_memory();
    }
}

base::Result<std::uint64_t> Arena::allocate_checked(std::uint64_t bytes, std::uint64_t alignment) {
    const auto size_class = class_of(bytes, alignment);
    if (!size_class) return allocate_large(bytes, alignment);
    if (open_[*size_class].empty() && !open_span(*size_class))
        return tl::unexpected<base::Error>(full(bytes, alignment));
    return allocate_small(*size_class);
}

base::Result<std::size_t> Arena::take_blocks(std::size_t cached_class, std::span<Granule> granules) {
    if (cached_class == kSpanClass) {
        const auto offset = allocate(kSpanBytes);
        if (!offset) return tl::unexpected<base::Error>(offset.error());
        granules[0] = static_cast<Granule>((*offset - range_.offset) / kMinBlockBytes);
        return 1;
    }
    try {
        const auto size_class = static_cast<SizeClass>(cached_class);
        if (!open_[size_class].empty() || open_span(size_class)) return take_small(size_class, granules);
        ++stats_.failed_allocations;
        return tl::unexpected<base::Error>(full(kClassBytes[size_class], kDefaultAlignment));
    } catch (const std::bad_alloc&) {
        ++stats_.failed_allocations;
        return no_private_memory();
    }
}

void Arena::give_blocks(std::size_t cached_class, std::span<const Granule> granules) {
    for (const Granule granule : granules) {
        if (cached_class == kSpanClass) {
            [[maybe_unused]] const auto taken = free(range_.offset + granule * kMinBlockBytes);
        } else {
            give_small(static_cast<SizeClass>(cached_class), granule);
        }
    }
}

/// free(), with less to find out and nothing to say.
void Arena::give_small(SizeClass size_class, Granule granule) {
    constexpr auto kSpanGranules = static_cast<Granule>(kSpanBytes / kMinBlockBytes);
    Span* const span = runs_.find(granule / kSpanGranules);
    if (span == nullptr || span->kind != SpanKind::kSmall || span->small->size_class() != size_class) return;
    SmallSpan& small = *span->small;
    const auto block = small.block_at(granule % kSpanGranules);
    if (!block || !small.is_live(*block)) return;
    stats_.live_bytes -= small.block_bytes();
    --stats_.live_blocks;
    free_small(small, *block);
}

/// Of spans that are open.
std::size_t Arena::take_small(SizeClass size_class, std::span<Granule> granules) {
    std::size_t count = 0;
    while (count < granules.size() && !open_[size_class].empty()) {
        SmallSpan& small = open_[size_class].front();
        const auto first = static_cast<Granule>(small.span() * (kSpanBytes / kMinBlockBytes));
        count += small.take_many(first, granules.subspan(count));
        if (small.full()) full_.splice(full_.begin(), open_[size_class], small.self());
    }
    stats_.live_bytes += count * kClassBytes[size_class];
    stats_.live_blocks += count;
    return count;
}

base::Result<std::uint64_t> Arena::allocate_small(SizeClass size_class) {
    SmallSpan& small = open_[size_class].front();
    const std::uint32_t block = small.take();
    if (small.full()) full_.splice(full_.begin(), open_[size_class], small.self());
    stats_.live_bytes += small.block_bytes();
    ++stats_.live_blocks;
    return offset_of(small.span()) + std::uint64_t{block} * small.block_bytes();
}

base::Result<std::uint64_t> Arena::allocate_large(std::uint64_t bytes, std::uint64_t alignment) {
    // A small block with a large alignment takes a span of its own.
    const std::uint64_t length = round_up(std::max<std::uint64_t>(bytes, 1), kSpanBytes) / kSpanBytes;
    const auto first = take_committed_run(length, std::max(alignment / kSpanBytes, std::uint64_t{1}));
    if (!first) return tl::unexpected<base::Error>(full(bytes, alignment));
    return use_large(*first);
}

std::uint64_t Arena::use_large(std::uint32_t first) {
    Span& span = *runs_.find(first);
    span.kind = SpanKind::kLarge;
    stats_.live_bytes += span.length * kSpanBytes;
    ++stats_.live_blocks;
    return offset_of(first);
}

base::Result<std::uint64_t> Arena::reserve(std::uint64_t bytes) {
    VMRPC_TRY(check_request(bytes, kSpanBytes));
    try {
        const auto first = take_run(round_up(std::max<std::uint64_t>(bytes, 1), kSpanBytes) / kSpanBytes, 1);
        if (first) return use_large(*first);
    } catch (const std::bad_alloc&) {
        ++stats_.failed_allocations;
        return no_private_memory();
    }
    ++stats_.failed_allocations;
    return tl::unexpected<base::Error>(full(bytes, kSpanBytes));
}

/// Cuts a fresh span into blocks of `size_class`. False if there is none.
bool Arena::open_span(SizeClass size_class) {
    std::list<SmallSpan> fresh;
    fresh.emplace_back(size_class);  // first, because it may throw
    const auto first = take_committed_run(1, 1);
    if (!first) return false;
    fresh.front().place(*first, fresh.begin());
    Span& span = *runs_.find(*first);
    span.kind = SpanKind::kSmall;
    span.small = &fresh.front();
    open_[size_class].splice(open_[size_class].begin(), fresh);
    return true;
}

std::optional<std::uint32_t> Arena::take_run(std::uint64_t length, std::uint64_t alignment) {
    if (length > runs_.span_count()) return std::nullopt;
    const auto take = [&] {
        return runs_.take(static_cast<std::uint32_t>(length), static_cast<std::uint32_t>(alignment));
    };
    if (const auto first = take()) return first;
    close_empty_spans();
    return take();
}

/// Memory comes before use: if there is none, the run is not taken.
std::optional<std::uint32_t> Arena::take_committed_run(std::uint64_t length, std::uint64_t alignment) {
    const auto first = take_run(length, alignment);
    if (!first || committed_ == nullptr) return first;
    base::Status taken;
    try {
        taken = committed_->take({offset_of(*first), length * kSpanBytes});
    } catch (const std::bad_alloc&) {
        taken = no_private_memory();
    }
    if (taken) return first;
    not_committed_ = std::move(taken).error();
    runs_.give_back(*first);
    return std::nullopt;
}

void Arena::give_back_run(std::uint32_t first) {
    if (committed_ != nullptr) committed_->emptied({offset_of(first), runs_.find(first)->length * kSpanBytes});
    runs_.give_back(first);
}

base::Result<Arena::Block> Arena::find(std::uint64_t offset) const {
    if (!layout::holds(range_, offset, 1))
        return tl::unexpected<base::Error>(
            no_block(offset, fmt::format("it lies outside of bytes {} to {}", range_.offset, range_.end())));
    const auto index = static_cast<std::uint32_t>((offset - range_.offset) / kSpanBytes);
    Span* span = runs_.find(index);
    if (span == nullptr || span->kind == SpanKind::kInside || span->kind == SpanKind::kFree)
        return tl::unexpected<base::Error>(
            no_block(offset, "it was freed before, was never allocated, or is the middle of a block"));
    if (span->kind == SpanKind::kSmall) return find_small(Block{span, index}, offset);
    if (offset % kSpanBytes != 0) return tl::unexpected<base::Error>(no_block(offset, "it is the middle of a block"));
    return Block{span, index};
}

base::Result<Arena::Block> Arena::find_small(Block block, std::uint64_t offset) const {
    const SmallSpan& small = *block.span->small;
    const auto within = static_cast<std::uint32_t>(offset % kSpanBytes);
    block.index = within / small.block_bytes();
    if (within % small.block_bytes() != 0 || block.index >= small.block_count())
        return tl::unexpected<base::Error>(no_block(offset, "it is the middle of a block"));
    if (!small.is_live(block.index))
        return tl::unexpected<base::Error>(no_block(offset, "it was freed before, or was never allocated"));
    return block;
}

std::uint64_t Arena::Block::bytes() const {
    return span->kind == SpanKind::kSmall ? span->small->block_bytes() : span->length * kSpanBytes;
}

base::Status Arena::free(std::uint64_t offset) {
    const auto block = find(offset);
    if (!block) return tl::unexpected<base::Error>(block.error());
    stats_.live_bytes -= block->bytes();
    --stats_.live_blocks;
    if (block->span->kind == SpanKind::kSmall)
        free_small(*block->span->small, block->index);
    else
        give_back_run(block->span_index);
    return {};
}

void Arena::free_small(SmallSpan& small, std::uint32_t block) {
    auto& open = open_[small.size_class()];
    if (small.full()) open.splice(open.begin(), full_, small.self());
    small.give_back(block);
    // One empty span of each class stays: the next block of its size would cut one again.
    if (small.empty() && open.size() > 1) close_span(small);
}

void Arena::close_span(SmallSpan& small) {
    give_back_run(small.span());
    open_[small.size_class()].erase(small.self());
}

/// Another class, or a large block, needs the spans that classes keep.
void Arena::close_empty_spans() {
    for (auto& open : open_) {
        for (auto small = open.begin(); small != open.end();) {
            SmallSpan& candidate = *small++;
            if (candidate.empty()) close_span(candidate);
        }
    }
}

base::Result<std::uint64_t> Arena::usable_bytes(std::uint64_t offset) const {
    return find(offset).map([](const Block& block) { return block.bytes(); });
}

base::Error Arena::full(std::uint64_t bytes, std::uint64_t alignment) {
    if (not_committed_) return *std::exchange(not_committed_, std::nullopt);
    return {VMRPC_HEAP_FULL,
            fmt::format("no room for {} bytes (alignment {}): {} of the heap's {} bytes are live, its largest free run "
                        "has {}; free blocks, or make it larger (heap_bytes of the connection, bytes of the heap's "
                        "set-up)",
                        bytes, alignment, stats_.live_bytes, stats_.reserved_bytes, runs_.longest() * kSpanBytes)};
}

}  // namespace vmrpc::heap
