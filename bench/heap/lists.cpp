#include "heap/lists.hpp"

#include "support/measure.hpp"

#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

namespace vmrpc::bench {
namespace {

constexpr std::size_t kLength = 100'000;
constexpr std::size_t kStringBytes = 10;  // with the NUL

struct Entry {
    char* s;
    double d;
};

template <class Heap>
std::span<Entry> build_list(const Heap& heap) {
    const std::span list(static_cast<Entry*>(heap.allocate(kLength * sizeof(Entry))), kLength);
    for (Entry& entry : list) {
        entry = {static_cast<char*>(heap.allocate(kStringBytes)), 2.0};
        std::memcpy(entry.s, "vvvvvvvvv", kStringBytes);
    }
    show(list.data());
    return list;
}

template <class Heap>
void free_list(const Heap& heap, std::span<Entry> list) {
    for (const Entry& entry : list) heap.free(entry.s);
    if (!list.empty()) heap.free(list.data());
}

}  // namespace

Sides list_sides(ScratchFolder& folder, Kind kind, Timed timed) {
    return sides_with(folder, kind, [timed](const Effort& effort, pid_t, const auto& heap) {
        std::span<Entry> list;
        const auto free = [&](int) { free_list(heap, std::exchange(list, {})); };
        return measure_apart(effort, free, [&](int calls) {
            list = build_list(heap);
            if (timed == Timed::kBuildingAndFreeing) free(calls);
        });
    });
}

}  // namespace vmrpc::bench
