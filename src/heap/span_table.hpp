// What an arena knows of each of its spans.
#pragma once

#include <algorithm>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <vector>

namespace vmrpc::heap {

class SmallSpan;

/// A free run as the index of free runs sorts it: by length, then by place.
struct FreeRun {
    std::uint32_t length = 0;  // in spans
    std::uint32_t first = 0;
    auto operator<=>(const FreeRun&) const = default;
};
using FreeRunSet = std::set<FreeRun>;

enum class SpanKind : std::uint8_t {
    kInside,  // not the first span of anything: inside a run, or never reached
    kFree,    // first span of a free run
    kLarge,   // first span of a block of whole spans
    kSmall,   // cut into blocks of one size class
};

/// One span. Only the first and the last of a run say anything, so that a run of any length costs the same.
struct Span {
    SpanKind kind = SpanKind::kInside;
    std::uint32_t length = 0;       // first span of a run: its spans
    std::uint32_t free_length = 0;  // last span of a free run: its spans; 0 for all others
    SmallSpan* small = nullptr;     // kSmall
    FreeRunSet::node_type node;     // kLarge, kSmall: kept from when the run was free, so that freeing needs no memory
};

/// Spans by index, in two levels: private memory grows with the spans that were ever used, not with the reservation.
/// Not thread safe.
class SpanTable {
  public:
    explicit SpanTable(std::uint32_t span_count)
        : leaf_bits_(leaf_bits(span_count)), leaves_((span_count >> leaf_bits_) + 1) {}

    /// The span's entry, or nullptr if nothing was ever said about it. Requires `span` below the count.
    [[nodiscard]] Span* find(std::uint32_t span) const {
        Span* leaf = leaves_[span >> leaf_bits_].get();
        return leaf == nullptr ? nullptr : &leaf[span & (leaf_spans() - 1)];
    }

    /// The span's entry, made if there is none; it stays where it is. Throws std::bad_alloc.
    Span& at(std::uint32_t span) {
        auto& leaf = leaves_[span >> leaf_bits_];
        if (leaf == nullptr) leaf = std::make_unique<Span[]>(leaf_spans());  // NOLINT(*-avoid-c-arrays)
        return leaf[span & (leaf_spans() - 1)];
    }

  private:
    /// From 2 KiB, as every connection has two leaves at least, to 16 KiB in large arenas, whose list of leaves would
    /// be long otherwise.
    static std::uint32_t leaf_bits(std::uint32_t span_count) {
        constexpr std::uint32_t kLeastBits = 6;
        constexpr std::uint32_t kMostBits = 9;
        return std::clamp(static_cast<std::uint32_t>(std::bit_width(span_count >> kMostBits)), kLeastBits, kMostBits);
    }
    [[nodiscard]] std::uint32_t leaf_spans() const { return std::uint32_t{1} << leaf_bits_; }

    std::uint32_t leaf_bits_;
    std::vector<std::unique_ptr<Span[]>> leaves_;  // NOLINT(*-avoid-c-arrays)
};

}  // namespace vmrpc::heap
