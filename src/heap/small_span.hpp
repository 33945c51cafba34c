// One span cut into blocks of one size class.
#pragma once

#include "heap/block_states.hpp"
#include "heap/size_class.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <vector>

namespace vmrpc::heap {

/// Which blocks of a span are free: a bitmap in private memory, made when the span is carved. Not thread safe.
class SmallSpan {
  public:
    explicit SmallSpan(SizeClass size_class)
        : size_class_(size_class),
          block_count_(static_cast<std::uint32_t>(kSpanBytes / kClassBytes[size_class])),
          per_unit_((std::uint64_t{1} << 32U) / (kClassBytes[size_class] / kMinBlockBytes) + 1),
          free_((block_count_ + kWordBits - 1) / kWordBits, ~std::uint64_t{0}) {
        // Bits beyond the last block are never free.
        if (const std::uint32_t rest = block_count_ % kWordBits; rest != 0)
            free_.back() = (std::uint64_t{1} << rest) - 1;
    }

    /// Says which span this is, and where it hangs in its arena's lists.
    void place(std::uint32_t span, std::list<SmallSpan>::iterator self) {
        span_ = span;
        self_ = self;
    }
    [[nodiscard]] std::list<SmallSpan>::iterator self() const { return self_; }
    [[nodiscard]] std::uint32_t span() const { return span_; }
    [[nodiscard]] SizeClass size_class() const { return size_class_; }
    [[nodiscard]] std::uint32_t block_bytes() const { return kClassBytes[size_class_]; }
    [[nodiscard]] std::uint32_t block_count() const { return block_count_; }
    [[nodiscard]] bool full() const { return live_ == block_count_; }
    [[nodiscard]] bool empty() const { return live_ == 0; }
    /// Whether `block` (below block_count) is allocated.
    [[nodiscard]] bool is_live(std::uint32_t block) const { return (free_[block / kWordBits] & bit(block)) == 0; }

    /// The block that begins so many granules behind the span's first byte; nothing if none does.
    [[nodiscard]] std::optional<std::uint32_t> block_at(Granule granules) const {
        // A division by a multiplication: exact below 2^16, as all of these numbers are.
        const auto units = static_cast<Granule>(block_bytes() / kMinBlockBytes);
        const auto block = static_cast<std::uint32_t>((std::uint64_t{granules} * per_unit_) >> 32U);
        if (block * units != granules || block >= block_count_) return std::nullopt;
        return block;
    }

    /// Allocates the lowest free block and returns its index. Requires that the span is not full.
    std::uint32_t take() {
        while (free_[first_word_] == 0) ++first_word_;
        const auto block = static_cast<std::uint32_t>(first_word_ * kWordBits) +
                           static_cast<std::uint32_t>(std::countr_zero(free_[first_word_]));
        free_[first_word_] &= ~bit(block);
        ++live_;
        return block;
    }

    /// Allocates free blocks, lowest first, as many as there are and `granules` has room for, and writes where they
    /// begin if the span begins at `first`. Returns how many.
    std::size_t take_many(Granule first, std::span<Granule> granules) {
        const auto units = static_cast<Granule>(block_bytes() / kMinBlockBytes);
        const std::size_t wanted = std::min<std::size_t>(granules.size(), block_count_ - live_);
        for (std::size_t count = 0; count < wanted; ++first_word_) {
            std::uint64_t free = free_[first_word_];
            for (; free != 0 && count < wanted; free &= free - 1)
                granules[count++] = first + units * (static_cast<Granule>(first_word_ * kWordBits) +
                                                     static_cast<Granule>(std::countr_zero(free)));
            free_[first_word_] = free;
            if (free != 0) break;
        }
        live_ += static_cast<std::uint32_t>(wanted);
        return wanted;
    }

    /// Frees `block`. Requires that it is live.
    void give_back(std::uint32_t block) {
        const std::size_t word = block / kWordBits;
        free_[word] |= bit(block);
        if (word < first_word_) first_word_ = word;
        --live_;
    }

  private:
    static constexpr std::uint32_t kWordBits = 64;
    static constexpr std::uint64_t bit(std::uint32_t block) { return std::uint64_t{1} << (block % kWordBits); }

    std::uint32_t span_ = 0;
    std::list<SmallSpan>::iterator self_;
    SizeClass size_class_;
    std::uint32_t block_count_;
    std::uint64_t per_unit_;  // 2^32 divided by a block's granules, rounded up
    std::uint32_t live_ = 0;
    std::size_t first_word_ = 0;  // no word below it has a free block
    std::vector<std::uint64_t> free_;
};

}  // namespace vmrpc::heap
