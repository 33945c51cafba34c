#include "heap/free_runs.hpp"

#include "heap/size_class.hpp"

#include <utility>

namespace vmrpc::heap {
namespace {

FreeRunSet::node_type make_node() {
    FreeRunSet one;
    one.insert(FreeRun{});
    return one.extract(one.begin());
}

}  // namespace

FreeRuns::FreeRuns(std::uint64_t first_span, std::uint32_t span_count)
    : first_span_(first_span), span_count_(span_count), table_(span_count) {
    if (span_count == 0) return;
    table_.at(0);
    table_.at(span_count - 1);
    add(make_node(), FreeRun{span_count, 0});
}

std::optional<FreeRuns::Fit> FreeRuns::best_fit(std::uint32_t length, std::uint32_t alignment) const {
    for (auto run = free_.lower_bound(FreeRun{length, 0}); run != free_.end(); ++run) {
        const std::uint64_t first = round_up(first_span_ + run->first, alignment) - first_span_;
        if (first + length <= std::uint64_t{run->first} + run->length)
            return Fit{run, static_cast<std::uint32_t>(first)};
    }
    return std::nullopt;
}

std::optional<std::uint32_t> FreeRuns::take(std::uint32_t length, std::uint32_t alignment) {
    const auto fit = best_fit(length, alignment);
    if (!fit) return std::nullopt;
    const FreeRun whole = *fit->run;
    const FreeRun before{fit->first - whole.first, whole.first};
    const FreeRun after{whole.length - before.length - length, fit->first + length};
    // All that can fail comes first: entries and nodes for what remains on either side.
    Span& taken = table_.at(fit->first);
    table_.at(after.first - 1);
    auto before_node = FreeRunSet::node_type{};
    auto after_node = FreeRunSet::node_type{};
    if (before.length != 0) {
        table_.at(fit->first - 1);
        before_node = make_node();
    }
    if (after.length != 0) {
        table_.at(after.first);
        after_node = make_node();
    }
    auto node = remove(whole.first);
    if (before.length != 0) add(std::move(before_node), before);
    if (after.length != 0) add(std::move(after_node), after);
    taken.length = length;
    taken.node = std::move(node);
    return fit->first;
}

void FreeRuns::give_back(std::uint32_t first) noexcept {
    Span& span = *table_.find(first);
    FreeRun run{span.length, first};
    auto node = std::move(span.node);
    span.kind = SpanKind::kInside;
    span.small = nullptr;
    const std::uint32_t next = run.first + run.length;
    if (const Span* after = next < span_count_ ? find(next) : nullptr;
        after != nullptr && after->kind == SpanKind::kFree) {
        run.length += after->length;
        remove(next);
    }
    if (const Span* before = first > 0 ? find(first - 1) : nullptr; before != nullptr && before->free_length != 0) {
        run.first -= before->free_length;
        run.length += before->free_length;
        remove(run.first);
    }
    add(std::move(node), run);
}

void FreeRuns::add(FreeRunSet::node_type node, FreeRun run) noexcept {
    Span& first = *table_.find(run.first);
    first.kind = SpanKind::kFree;
    first.length = run.length;
    // The last span has an entry: take() makes one wherever it lets a run end.
    table_.find(run.first + run.length - 1)->free_length = run.length;
    node.value() = run;
    free_.insert(std::move(node));
}

FreeRunSet::node_type FreeRuns::remove(std::uint32_t first) noexcept {
    Span& span = *table_.find(first);
    const FreeRun run{span.length, first};
    span.kind = SpanKind::kInside;
    table_.find(first + run.length - 1)->free_length = 0;
    return free_.extract(run);
}

}  // namespace vmrpc::heap
