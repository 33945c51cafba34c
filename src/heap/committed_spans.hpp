// Which spans of a side's arena have memory behind them.
//
// Spans are committed as they are handed out, some ahead, and given back when they have been empty for a while: a page
// that was given back at once costs a fault when it is used again.
#pragma once

#include "base/result.hpp"
#include "heap/pages.hpp"
#include "layout/wild.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace vmrpc::heap {

/// The whole spans of a range; spans begin at multiples of their size in the segment.
[[nodiscard]] layout::Extent whole_spans(layout::Extent range);

/// How a heap takes memory from the system, and returns it.
struct CommitOptions {
    static constexpr std::int64_t kDefaultTrimAfterNs = 1'000'000'000;
    static constexpr std::int64_t kNever = INT64_MAX;

    Pages* pages = nullptr;  // nullptr: everything is committed from the start, and stays so
    std::uint64_t limit_bytes = UINT64_MAX;
    std::int64_t trim_after_ns = kDefaultTrimAfterNs;  // kNever: only when it is asked for
    /// Sees to it that on_timer() is called after so many nanoseconds, once. False if that cannot be: the next span
    /// that empties asks again. Called with the heap's mutex held; must not take it, nor wait for who does.
    std::function<bool(std::int64_t)> arm = {};
};

/// Not thread safe: its owner locks. Offsets are in bytes from the segment's base; ranges consist of whole spans.
class CommittedSpans {
  public:
    /// Of the whole spans of `range`. Nothing is committed, unless options.pages is nullptr. Throws std::bad_alloc.
    CommittedSpans(layout::Extent range, CommitOptions options);

    /// A run is about to be handed out: commits what of it is not committed. Errors, and the run stays empty:
    /// VMRPC_HEAP_FULL (the limit), those of Pages::commit. Throws std::bad_alloc.
    base::Status take(layout::Extent run);
    /// A run is empty again; parts of it may never have been committed. Needs no memory.
    void emptied(layout::Extent run) noexcept;
    /// Gives back what is empty, at most `most_bytes` of it. Returns how much it was; 0: there is no more.
    std::uint64_t trim(std::uint64_t most_bytes) noexcept;
    /// What options.arm asked for: gives back what has been empty for long enough, at most `most_bytes` of it. Returns
    /// in how many nanoseconds it is to be called again; nothing: not before options.arm asks for it.
    std::optional<std::int64_t> on_timer(std::uint64_t most_bytes) noexcept;
    /// Commits everything now and for ever: nothing is given back from here on. Errors: as take().
    base::Status commit_all();

    [[nodiscard]] std::uint64_t committed_bytes() const { return committed_bytes_; }

  private:
    // What is known of a span: one of these, or since when it has been empty.
    static constexpr std::int64_t kNotCommitted = 0;
    static constexpr std::int64_t kInUse = INT64_MAX;
    static constexpr std::uint64_t kLeafSpans = 512;  // 32 MiB of the arena
    struct Leaf {
        std::array<std::int64_t, kLeafSpans> spans{};
        std::uint32_t empty = 0;  // committed, not in use
    };
    struct Run {  // of spans, counted from the arena's first
        std::uint64_t first;
        std::uint64_t end;
    };

    struct Pass {  // over what is empty
        std::int64_t before_ns;
        std::uint64_t most_bytes;
        Pages::Wait wait;
        std::uint64_t given_back_bytes = 0;
        std::int64_t oldest_left_ns = INT64_MAX;
        bool is_refused = false;
    };

    [[nodiscard]] bool is_fixed() const { return options_.pages == nullptr; }
    [[nodiscard]] Run spans_of(layout::Extent range) const;
    [[nodiscard]] layout::Extent extent_of(Run run) const;
    [[nodiscard]] std::int64_t state(std::uint64_t span) const;
    void set(std::uint64_t span, std::int64_t state) noexcept;
    void make_leaves(Run run);
    base::Status make_room(std::uint64_t bytes);
    base::Status commit_gaps(Run run);
    base::Status commit(Run gap);
    [[nodiscard]] std::uint64_t end_ahead(Run gap) const;
    void pass_over(Pass& pass) noexcept;
    void pass_over(std::uint64_t leaf, Pass& pass) noexcept;
    void arm_if_needed() noexcept;

    layout::Extent range_;
    CommitOptions options_;
    std::vector<std::unique_ptr<Leaf>> leaves_;  // made when a span of theirs is first taken
    std::uint64_t committed_bytes_ = 0;
    std::uint64_t empty_bytes_ = 0;
    bool armed_ = false;
};

}  // namespace vmrpc::heap
