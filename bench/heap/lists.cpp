#include "heap/lists.hpp"

#include "support/measure.hpp"

#include <cstddef>
#include <cstring>
#include <new>
#include <span>
#include <string>
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

/// A heap in which nothing is freed alone.
class BufferHeap {
  public:
    explicit BufferHeap(MonotonicBuffer& buffer) : buffer_(&buffer) {}
    [[nodiscard]] void* allocate(std::size_t bytes) const {
        // An allocator's blocks suit every type; here the caller says what it needs: strings lie side by side.
        void* block = buffer_->allocate(bytes, bytes == kStringBytes ? alignof(char) : alignof(Entry));
        if (block == nullptr) throw std::bad_alloc();
        return block;
    }

  private:
    MonotonicBuffer* buffer_;
};

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

Sides monotonic_list_sides(ScratchFolder& folder, Timed timed) {
    const std::string address = "local:" + folder.fresh().string();
    return {.serve = [=](const Report& report) { serve_heap(address, report); },
            .call =
                [=](const Effort& effort, pid_t) {
                    const Client client = join_heap(address);
                    MonotonicBuffer buffer(client.heap());
                    const auto release = [&](int) { buffer.release(); };
                    return measure_apart(effort, release, [&](int calls) {
                        build_list(BufferHeap(buffer));
                        if (timed == Timed::kBuildingAndFreeing) release(calls);
                    });
                }};
}

}  // namespace vmrpc::bench
