// Remote-free queues and arenas of both sides, against a heap whose peer writes there what it likes.
#include "heap/heap.hpp"

#include "fuzz/input.hpp"
#include "fuzz/region_link.hpp"
#include "layout/region.hpp"

#include <memory>
#include <tuple>
#include <vector>

namespace vmrpc::fuzz {
namespace {

using layout::RemoteFreeQueue;
using layout::Side;

const Region& region() {
    static const Region made(
        {.lane_count = 1, .stack_bytes = 3 * layout::kAreaBytes, .arena_bytes = std::uint64_t{2} << 20});
    return made;
}

RemoteFreeQueue& queue_of(Side side) {
    return *reinterpret_cast<RemoteFreeQueue*>(region().base() + region().plan().queues_offset +
                                               index_of(side) * layout::kQueueStride);
}

class Server {
  public:
    explicit Server(transport::MemfdPages& pages)
        : heap_({.segment = region().base(),
                 .side = Side::kServer,
                 .own = {region().plan().arena_offset(Side::kServer), region().plan().arena_bytes},
                 .peer = {region().plan().arena_offset(Side::kClient), region().plan().arena_bytes},
                 .own_queue = &queue_of(Side::kServer),
                 .peer_queue = &queue_of(Side::kClient),
                 .ring_peer = [] {},
                 .on_violation = [](const base::Error&) {},
                 .commit = {.pages = &pages, .trim_after_ns = heap::CommitOptions::kNever}}) {}

    void step(Input& input) {
        switch (input.below(10)) {
            case 0:
            case 1:
                return allocate(input);
            case 2:
                return free_own(input);
            case 3:
                return free_peers(input);
            case 4:
                return free_by_peer(input);
            case 5:
                return input.scribble({reinterpret_cast<std::byte*>(&queue_of(Side::kServer)), 192});
            case 6:
                return input.scribble({reinterpret_cast<std::byte*>(&queue_of(Side::kClient)), 192});
            case 7:
                return input.scribble(region().bytes(region().plan().arenas_offset, 2 * region().plan().arena_bytes));
            case 8:
                return heap_.trim();
            default:
                std::ignore = heap_.drain();
        }
    }

  private:
    void allocate(Input& input) {
        const std::size_t bytes = input.flag() ? input.take<std::uint16_t>() : input.take<std::uint32_t>() >> 8;
        const auto block = heap_.allocate(bytes, {.alignment = std::size_t{1} << input.below(8)});
        if (!block) return;
        std::memset(*block, 0x5a, bytes);
        blocks_.push_back(static_cast<std::byte*>(*block));
    }
    void free_own(Input& input) {
        if (blocks_.empty()) return;
        const auto chosen = blocks_.begin() + input.below(256) % static_cast<std::ptrdiff_t>(blocks_.size());
        std::ignore = heap_.release(*chosen + (input.one_in(16) ? 16 : 0));
        blocks_.erase(chosen);
    }
    /// Blocks of the client's: what a function was handed, and frees. Where they lie is the client's word.
    void free_peers(Input& input) {
        const std::uint64_t at = input.take<std::uint32_t>() % region().plan().arena_bytes;
        std::ignore = heap_.release(region().base() + region().plan().arena_offset(Side::kClient) + at);
    }
    /// A block of ours, or what is none, as the client tells of it.
    void free_by_peer(Input& input) {
        auto& queue = queue_of(Side::kServer);
        std::uint64_t offset = input.flag() ? input.take<std::uint64_t>() : region().plan().arena_offset(Side::kServer);
        if (!blocks_.empty() && !input.one_in(4))
            offset = static_cast<std::uint64_t>(blocks_[input.below(256) % blocks_.size()] - region().base());
        const std::uint64_t tail = queue.tail.load_relaxed();
        queue.offsets[tail % RemoteFreeQueue::kEntries].store_relaxed(offset);
        queue.tail.store_release(tail + 1);
    }

    heap::Heap heap_;
    std::vector<std::byte*> blocks_;
};

}  // namespace
}  // namespace vmrpc::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace vmrpc;
    fuzz::Input input(data, size);
    fuzz::region().format();
    transport::MemfdPages pages(fuzz::region().memory());
    fuzz::Server server(pages);
    for (int steps = 0; steps < 200 && !input.is_empty(); ++steps) server.step(input);
    return 0;
}
