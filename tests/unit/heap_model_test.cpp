// Random operations on both sides, with remote frees, against a simple model: no two live blocks overlap, their
// contents stay, every byte is accounted for at every step, and in the end all is back.
#include "heap/heap.hpp"
#include "heap_sides.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <ostream>
#include <vector>

namespace vmrpc::heap::test {
namespace {

constexpr std::uint64_t kArenaBytes = std::uint64_t{4} << 20;

enum class Action : std::uint8_t { kAllocate, kAllocateInHeap, kRelease, kReleaseMany, kDrain, kSetUp, kDestroy };

struct Operation {
    Action action = Action::kAllocate;
    Side side = Side::kClient;
    std::size_t bytes = 0;
    std::size_t alignment = 16;
    std::uint32_t pick = 0;  // of a block or a heap
};

std::ostream& operator<<(std::ostream& out, const Operation& operation) {
    return out << "{action " << static_cast<int>(operation.action) << ", side " << index_of(operation.side) << ", "
               << operation.bytes << " bytes at " << operation.alignment << ", pick " << operation.pick << '}';
}

rc::Gen<Operation> any_operation() {
    const auto bytes = rc::gen::weightedOneOf<std::size_t>({{8, rc::gen::inRange<std::size_t>(0, 300)},
                                                            {4, rc::gen::inRange<std::size_t>(0, 40'000)},
                                                            {2, rc::gen::inRange<std::size_t>(0, 500'000)}});
    const auto alignment = rc::gen::weightedOneOf<std::size_t>(
        {{6, rc::gen::just<std::size_t>(16)},
         {1, rc::gen::map(rc::gen::inRange(0, 22), [](int power) { return std::size_t{1} << power; })}});
    const auto action = rc::gen::weightedElement<Action>({{50, Action::kAllocate},
                                                          {12, Action::kAllocateInHeap},
                                                          {40, Action::kRelease},
                                                          {2, Action::kReleaseMany},
                                                          {8, Action::kDrain},
                                                          {2, Action::kSetUp},
                                                          {2, Action::kDestroy}});
    return rc::gen::build<Operation>(rc::gen::set(&Operation::action, action),
                                     rc::gen::set(&Operation::side, rc::gen::element(Side::kClient, Side::kServer)),
                                     rc::gen::set(&Operation::bytes, bytes),
                                     rc::gen::set(&Operation::alignment, alignment),
                                     rc::gen::set(&Operation::pick, rc::gen::arbitrary<std::uint32_t>()));
}

struct Block {
    std::size_t bytes = 0;
    Side owner = Side::kClient;
    HeapId heap = kMainHeap;
    std::uint8_t fill = 0;
};

/// What must be true, kept beside the two heaps.
class Model {
  public:
    void run(const Operation& operation) {
        switch (operation.action) {
            case Action::kAllocate:
                return allocate(operation, kMainHeap);
            case Action::kAllocateInHeap:
                return allocate(operation, pick_heap(operation));
            case Action::kRelease:
                return release(operation);
            case Action::kReleaseMany:
                return release_many(operation);
            case Action::kDrain:
                RC_ASSERT(sides_.of(operation.side).heap.drain().has_value());
                return;
            case Action::kSetUp:
                return set_up(operation);
            case Action::kDestroy:
                return destroy(operation);
        }
    }

    /// The owner counts what is live and what the peer has freed but it has not yet taken.
    void check_accounts() {
        for (const Side side : {Side::kClient, Side::kServer}) {
            const HeapStats own = sides_.of(side).heap.stats();
            const HeapStats peer = sides_.of(other(side)).heap.stats();
            const std::uint64_t under_way = peer.remote_frees_sent + peer.spilled_now - own.remote_frees_received;
            RC_ASSERT(own.own.live_blocks == live_[index_of(side)].blocks + under_way);
            RC_ASSERT(own.own.live_bytes >= live_[index_of(side)].bytes);
            RC_ASSERT(under_way != 0 || own.own.live_bytes == live_[index_of(side)].rounded_bytes);
        }
    }

    void finish() {
        while (!blocks_.empty()) release(Operation{.side = blocks_.size() % 3 == 0 ? Side::kClient : Side::kServer});
        sides_.settle();
        for (const Side side : {Side::kClient, Side::kServer}) {
            Heap& heap = sides_.of(side).heap;
            for (const HeapId id : heaps_[index_of(side)]) RC_ASSERT(heap.destroy(id).has_value());
            RC_ASSERT(heap.stats().own.live_bytes == 0U);
            const auto all = heap.allocate(kArenaBytes);
            RC_ASSERT(all.has_value());
            RC_ASSERT(sides_.of(side).violations().empty());
        }
    }

  private:
    struct Live {
        std::uint64_t blocks = 0;
        std::uint64_t bytes = 0;
        std::uint64_t rounded_bytes = 0;
    };

    static std::uint64_t rounded(const Block& block, std::size_t alignment) {
        const auto size_class = class_of(block.bytes, alignment);
        if (size_class) return kClassBytes[*size_class];
        return round_up(std::max<std::uint64_t>(block.bytes, 1), kSpanBytes);
    }

    void allocate(const Operation& operation, HeapId heap_id) {
        Heap& heap = sides_.of(operation.side).heap;
        const auto result = heap.allocate(operation.bytes, {.alignment = operation.alignment, .heap = heap_id});
        if (!result) {
            RC_ASSERT(result.error().status == VMRPC_HEAP_FULL);
            // An empty arena has room for everything that is asked for here.
            RC_ASSERT(heap_id != kMainHeap || heap.stats().own.live_blocks != 0U ||
                      !heaps_[index_of(operation.side)].empty());
            return;
        }
        const auto address = reinterpret_cast<std::uintptr_t>(*result);
        RC_ASSERT(address % std::max<std::size_t>(operation.alignment, kDefaultAlignment) == 0U);
        RC_ASSERT(heap.contains(*result, std::max<std::size_t>(operation.bytes, 1)));
        const Block block{operation.bytes, operation.side, heap_id, next_fill_++};
        const auto entry = blocks_.emplace(address, Entry{block, rounded(block, operation.alignment)});
        RC_ASSERT(entry.second);
        check_neighbours(entry.first);
        std::memset(*result, block.fill, block.bytes);
        count(entry.first->second, 1);
    }

    struct Entry {
        Block block;
        std::uint64_t rounded_bytes = 0;
    };
    using Blocks = std::map<std::uintptr_t, Entry>;

    void check_neighbours(Blocks::iterator entry) {
        if (const auto next = std::next(entry); next != blocks_.end())
            RC_ASSERT(entry->first + entry->second.rounded_bytes <= next->first);
        if (entry == blocks_.begin()) return;
        const auto previous = std::prev(entry);
        RC_ASSERT(previous->first + previous->second.rounded_bytes <= entry->first);
    }

    void count(const Entry& entry, std::uint64_t one) {  // 1, or -1 in wrapping arithmetic
        Live& live = live_[index_of(entry.block.owner)];
        live.blocks += one;
        live.bytes += one * entry.block.bytes;
        live.rounded_bytes += one * entry.rounded_bytes;
    }

    void release(const Operation& operation) {
        if (blocks_.empty()) return;
        const auto entry = std::next(blocks_.begin(), static_cast<std::ptrdiff_t>(operation.pick % blocks_.size()));
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(entry->first);
        const Block& block = entry->second.block;
        // The first byte is right, and each is as the one before it. Not within the macro, which evaluates both sides.
        const bool is_intact =
            block.bytes == 0 || (*bytes == block.fill && std::memcmp(bytes, bytes + 1, block.bytes - 1) == 0);
        RC_ASSERT(is_intact);
        RC_ASSERT(sides_.of(operation.side).heap.release(reinterpret_cast<void*>(entry->first)).has_value());
        count(entry->second, ~std::uint64_t{0});
        blocks_.erase(entry);
    }

    /// Enough small blocks at once to fill the queue and spill.
    void release_many(const Operation& operation) {
        for (std::uint32_t i = 0; i < RemoteFreeQueue::kEntries + operation.pick % 1'000; ++i) {
            const auto block = sides_.of(operation.side).heap.allocate(1 + i % 32);
            if (!block) return;
            RC_ASSERT(sides_.of(other(operation.side)).heap.release(*block).has_value());
        }
    }

    void set_up(const Operation& operation) {
        const auto heap = sides_.of(operation.side).heap.setup(operation.bytes + 1);
        if (heap) heaps_[index_of(operation.side)].push_back(*heap);
    }

    HeapId pick_heap(const Operation& operation) {
        const auto& heaps = heaps_[index_of(operation.side)];
        return heaps.empty() ? kMainHeap : heaps[operation.pick % heaps.size()];
    }

    void destroy(const Operation& operation) {
        auto& heaps = heaps_[index_of(operation.side)];
        if (heaps.empty()) return;
        const auto heap = heaps.begin() + static_cast<std::ptrdiff_t>(operation.pick % heaps.size());
        const bool in_use = std::any_of(blocks_.begin(), blocks_.end(), [&](const auto& entry) {
            return entry.second.block.owner == operation.side && entry.second.block.heap == *heap;
        });
        // Frees that have spilled on the other side keep a heap alive that is empty here: retry after they came
        // through.
        sides_.settle();
        const auto destroyed = sides_.of(operation.side).heap.destroy(*heap);
        RC_ASSERT(status_of(destroyed) == (in_use ? VMRPC_BUSY : VMRPC_OK));
        if (destroyed) heaps.erase(heap);
    }

    Sides sides_{kArenaBytes};
    Blocks blocks_;
    std::array<Live, 2> live_{};
    std::array<std::vector<HeapId>, 2> heaps_;
    std::uint8_t next_fill_ = 1;
};

RC_GTEST_PROP(HeapModel, RandomOperationsOnBothSidesAgreeWithTheModel, ()) {
    // A hundred cases make 200,000 operations, in the long form 10,000,000.
    const std::size_t length = long_form() ? 100'000 : 2'000;
    const auto operations = *rc::gen::container<std::vector<Operation>>(length, any_operation());
    Model model;
    for (const Operation& operation : operations) {
        model.run(operation);
        model.check_accounts();
    }
    model.finish();
}

}  // namespace
}  // namespace vmrpc::heap::test
