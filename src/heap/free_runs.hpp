// Runs of spans: which are free, best fit, and coalescing.
#pragma once

#include "heap/span_table.hpp"

#include <cstdint>
#include <optional>

namespace vmrpc::heap {

/// Hands out runs of spans and takes them back. Spans are counted from the arena's first. Not thread safe.
class FreeRuns {
  public:
    /// All of `span_count` spans are free. `first_span` is the place of span 0 in the segment, in spans: alignment is
    /// the segment's, not the arena's. Throws std::bad_alloc.
    FreeRuns(std::uint64_t first_span, std::uint32_t span_count);

    /// The first span of a run of `length` spans that begins at a multiple of `alignment` spans (a power of two), or
    /// nothing if there is none: the shortest free run that serves, among equals the lowest. Its entry's `length` is
    /// set, its kind is the caller's to set. O(log n) in the number of free runs; with an alignment above 1 the runs
    /// with less than `alignment` spans to spare are tried one by one. Throws std::bad_alloc and has then done nothing.
    std::optional<std::uint32_t> take(std::uint32_t length, std::uint32_t alignment);

    /// Frees a run that take() returned, and joins it with free neighbours. O(log n); needs no memory.
    void give_back(std::uint32_t first) noexcept;

    /// Spans of the longest free run, 0 if there is none.
    [[nodiscard]] std::uint32_t longest() const { return free_.empty() ? 0 : free_.rbegin()->length; }

    [[nodiscard]] std::uint32_t span_count() const { return span_count_; }
    /// The entry of a span below span_count(), nullptr if it never was the first or last of a run.
    [[nodiscard]] Span* find(std::uint32_t span) const { return table_.find(span); }

  private:
    struct Fit {
        FreeRunSet::iterator run;
        std::uint32_t first = 0;
    };
    [[nodiscard]] std::optional<Fit> best_fit(std::uint32_t length, std::uint32_t alignment) const;
    void add(FreeRunSet::node_type node, FreeRun run) noexcept;
    FreeRunSet::node_type remove(std::uint32_t first) noexcept;

    std::uint64_t first_span_;
    std::uint32_t span_count_;
    SpanTable table_;
    FreeRunSet free_;
};

}  // namespace vmrpc::heap
