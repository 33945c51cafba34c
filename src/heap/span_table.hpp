// What an arena knows of each of its spans.
#pragma once

#include <array>
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
    explicit SpanTable(std::uint32_t span_count) : leaves_((span_count + kLeafSpans - 1) / kLeafSpans) {}

    /// The span's entry, or nullptr if nothing was ever said about it. Requires `span` below the count.
    [[nodiscard]] Span* find(std::uint32_t span) const {
        Leaf* leaf = leaves_[span / kLeafSpans].get();
        return leaf == nullptr ? nullptr : &(*leaf)[span % kLeafSpans];
    }

    /// The span's entry, made if there is none; it stays where it is. Throws std::bad_alloc.
    Span& at(std::uint32_t span) {
        auto& leaf = leaves_[span / kLeafSpans];
        if (leaf == nullptr) leaf = std::make_unique<Leaf>();
        return (*leaf)[span % kLeafSpans];
    }

  private:
    static constexpr std::uint32_t kLeafSpans = 64;  // 4 MiB of the arena, in 2 KiB: every connection has two
    using Leaf = std::array<Span, kLeafSpans>;
    std::vector<std::unique_ptr<Leaf>> leaves_;
};

}  // namespace vmrpc::heap
