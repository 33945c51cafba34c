#include "heap/committed_spans.hpp"

#include "base/clock.hpp"
#include "heap/size_class.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <exception>
#include <utility>

namespace vmrpc::heap {
namespace {

/// The more is committed, the more is committed at once: up to so many of the pages' own steps.
constexpr std::uint64_t kMostSteps = 8;
/// The timer waits so long at least, as a part of the delay: spans that empty one by one are given back together.
constexpr std::int64_t kTimersPerDelay = 8;
/// When the pages could not be given back now.
constexpr std::int64_t kRetryNs = 10'000'000;

}  // namespace

layout::Extent whole_spans(layout::Extent range) {
    const std::uint64_t first = round_up(range.offset, kSpanBytes);
    const std::uint64_t end = range.end() / kSpanBytes * kSpanBytes;
    return {first, end > first ? end - first : 0};
}

CommittedSpans::CommittedSpans(layout::Extent range, CommitOptions options)
    : range_(whole_spans(range)), options_(std::move(options)) {
    if (is_fixed())
        committed_bytes_ = range_.bytes;
    else
        leaves_.resize((range_.bytes / kSpanBytes + kLeafSpans - 1) / kLeafSpans);
}

CommittedSpans::Run CommittedSpans::spans_of(layout::Extent range) const {
    return {(range.offset - range_.offset) / kSpanBytes, (range.end() - range_.offset) / kSpanBytes};
}

layout::Extent CommittedSpans::extent_of(Run run) const {
    return {range_.offset + run.first * kSpanBytes, (run.end - run.first) * kSpanBytes};
}

std::int64_t CommittedSpans::state(std::uint64_t span) const {
    const Leaf* leaf = leaves_[span / kLeafSpans].get();
    return leaf == nullptr ? kNotCommitted : leaf->spans[span % kLeafSpans];
}

/// Keeps the counts. Requires that the span's leaf is there.
void CommittedSpans::set(std::uint64_t span, std::int64_t state) noexcept {
    Leaf& leaf = *leaves_[span / kLeafSpans];
    std::int64_t& now = leaf.spans[span % kLeafSpans];
    const auto is_empty = [](std::int64_t one) { return one != kNotCommitted && one != kInUse; };
    if (is_empty(now)) --leaf.empty, empty_bytes_ -= kSpanBytes;
    if (is_empty(state)) ++leaf.empty, empty_bytes_ += kSpanBytes;
    if (now != kNotCommitted) committed_bytes_ -= kSpanBytes;
    if (state != kNotCommitted) committed_bytes_ += kSpanBytes;
    now = state;
}

void CommittedSpans::make_leaves(Run run) {
    for (std::uint64_t leaf = run.first / kLeafSpans; leaf * kLeafSpans < run.end; ++leaf) {
        if (leaves_[leaf] == nullptr) leaves_[leaf] = std::make_unique<Leaf>();
    }
}

base::Status CommittedSpans::take(layout::Extent run) {
    if (is_fixed()) return {};
    const Run spans = spans_of(run);
    make_leaves(spans);
    std::uint64_t missing_bytes = 0;
    for (std::uint64_t span = spans.first; span < spans.end; ++span) {
        if (state(span) == kNotCommitted)
            missing_bytes += kSpanBytes;
        else
            set(span, kInUse);
    }
    if (missing_bytes == 0) return {};
    base::Status committed = make_room(missing_bytes);
    if (committed) committed = commit_gaps(spans);
    if (!committed) emptied(run);
    return committed;
}

/// What is empty makes room below the limit for what is not.
base::Status CommittedSpans::make_room(std::uint64_t bytes) {
    const auto fits = [&] {
        return committed_bytes_ <= options_.limit_bytes && bytes <= options_.limit_bytes - committed_bytes_;
    };
    while (!fits() && trim(UINT64_MAX) != 0) {
    }
    if (fits()) return {};
    return base::fail(VMRPC_HEAP_FULL,
                      fmt::format("the heap's commit limit of {} bytes is reached: {} are committed, {} more are "
                                  "needed; free blocks, or raise commit_limit_bytes",
                                  options_.limit_bytes, committed_bytes_, bytes));
}

base::Status CommittedSpans::commit_gaps(Run run) {
    for (std::uint64_t span = run.first; span < run.end;) {
        Run gap{span, span};
        while (gap.end < run.end && state(gap.end) == kNotCommitted) ++gap.end;
        if (gap.end != gap.first) VMRPC_TRY(commit(gap));
        span = gap.end + 1;
    }
    return {};
}

/// Commits spans that are not, and those behind them that will be wanted next, if the system has them to give.
base::Status CommittedSpans::commit(Run gap) {
    const Run ahead{gap.end, end_ahead(gap)};
    make_leaves(ahead);
    base::Status committed = options_.pages->commit(extent_of({gap.first, ahead.end}));
    const bool has_ahead = committed.has_value();
    if (!committed && ahead.end != ahead.first) committed = options_.pages->commit(extent_of(gap));
    if (!committed) return committed;
    for (std::uint64_t span = gap.first; span < gap.end; ++span) set(span, kInUse);
    const std::int64_t now_ns = base::now_ns();
    for (std::uint64_t span = ahead.first; has_ahead && span < ahead.end; ++span) set(span, now_ns);
    arm_if_needed();
    return {};
}

std::uint64_t CommittedSpans::end_ahead(Run gap) const {
    const std::uint64_t least_bytes = options_.pages->step_bytes();
    const std::uint64_t step_spans =
        std::clamp(std::bit_floor(committed_bytes_), least_bytes, kMostSteps * least_bytes) / kSpanBytes;
    // Steps are of the segment, so that they fall together with large pages.
    const std::uint64_t first = range_.offset / kSpanBytes;
    const std::uint64_t wished = round_up(first + gap.end, step_spans) - first;
    const std::uint64_t room = (options_.limit_bytes - committed_bytes_) / kSpanBytes;
    const std::uint64_t last = std::min({wished, range_.bytes / kSpanBytes, gap.first + room});
    std::uint64_t end = gap.end;
    while (end < last && state(end) == kNotCommitted) ++end;
    return end;
}

void CommittedSpans::emptied(layout::Extent run) noexcept {
    if (is_fixed()) return;
    const Run spans = spans_of(run);
    const std::int64_t now_ns = base::now_ns();
    for (std::uint64_t span = spans.first; span < spans.end; ++span) {
        if (state(span) == kInUse) set(span, now_ns);
    }
    arm_if_needed();
}

void CommittedSpans::arm_if_needed() noexcept {
    if (armed_ || empty_bytes_ == 0 || options_.trim_after_ns == CommitOptions::kNever || !options_.arm) return;
    try {
        armed_ = options_.arm(options_.trim_after_ns);
    } catch (const std::exception&) {  // no memory for a timer: the next span asks again
        armed_ = false;
    }
}

std::uint64_t CommittedSpans::trim(std::uint64_t most_bytes) noexcept {
    Pass pass{.before_ns = kInUse, .most_bytes = most_bytes, .wait = Pages::Wait::kYes};
    pass_over(pass);
    return pass.given_back_bytes;
}

std::optional<std::int64_t> CommittedSpans::on_timer(std::uint64_t most_bytes) noexcept {
    const std::int64_t now_ns = base::now_ns();
    Pass pass{.before_ns = now_ns - options_.trim_after_ns + 1, .most_bytes = most_bytes, .wait = Pages::Wait::kNo};
    pass_over(pass);
    armed_ = empty_bytes_ != 0;
    if (!armed_) return std::nullopt;
    if (pass.is_refused) return kRetryNs;
    if (pass.given_back_bytes >= most_bytes) return 0;
    return std::max(pass.oldest_left_ns + options_.trim_after_ns - now_ns, options_.trim_after_ns / kTimersPerDelay);
}

void CommittedSpans::pass_over(Pass& pass) noexcept {
    if (is_fixed() || empty_bytes_ == 0) return;
    for (std::uint64_t leaf = 0; leaf < leaves_.size(); ++leaf) {
        if (leaves_[leaf] != nullptr && leaves_[leaf]->empty != 0) pass_over(leaf, pass);
        if (pass.is_refused || pass.given_back_bytes >= pass.most_bytes) return;
    }
}

void CommittedSpans::pass_over(std::uint64_t leaf, Pass& pass) noexcept {
    const std::uint64_t end = std::min((leaf + 1) * kLeafSpans, range_.bytes / kSpanBytes);
    for (std::uint64_t span = leaf * kLeafSpans; span < end && leaves_[leaf]->empty != 0; ++span) {
        const auto is_due = [&](std::uint64_t one) {
            return state(one) != kNotCommitted && state(one) < pass.before_ns;
        };
        if (!is_due(span)) {
            if (state(span) != kNotCommitted) pass.oldest_left_ns = std::min(pass.oldest_left_ns, state(span));
            continue;
        }
        const std::uint64_t left_spans = (pass.most_bytes - pass.given_back_bytes) / kSpanBytes;
        Run run{span, span + 1};
        while (run.end < end && run.end - run.first < left_spans && is_due(run.end)) ++run.end;
        if (pass.is_refused = !options_.pages->give_back(extent_of(run), pass.wait); pass.is_refused) return;
        for (; span < run.end; ++span) set(span, kNotCommitted);
        --span;
        pass.given_back_bytes += extent_of(run).bytes;
        if (pass.given_back_bytes >= pass.most_bytes) return;
    }
}

base::Status CommittedSpans::commit_all() {
    if (is_fixed()) return {};
    VMRPC_TRY(take(range_));
    options_.pages = nullptr;
    committed_bytes_ = range_.bytes;
    empty_bytes_ = 0;
    leaves_.clear();
    return {};
}

}  // namespace vmrpc::heap
