// Many threads on both sides at once, each freeing what others allocated, here and across.
#include "heap/heap.hpp"
#include "heap_sides.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <vector>

namespace vmrpc::heap::test {
namespace {

constexpr int kThreadsPerSide = 4;

/// A block on its way to whoever frees it. Its bytes carry its number, so that a block given out twice is seen.
struct Parcel {
    std::byte* block = nullptr;
    std::size_t bytes = 0;
    std::uint64_t number = 0;
};

class Mailbox {
  public:
    void put(const Parcel& parcel) {
        const std::lock_guard lock(mutex_);
        parcels_.push_back(parcel);
    }
    std::optional<Parcel> take() {
        const std::lock_guard lock(mutex_);
        if (parcels_.empty()) return std::nullopt;
        const Parcel parcel = parcels_.front();
        parcels_.pop_front();
        return parcel;
    }

  private:
    std::mutex mutex_;
    std::deque<Parcel> parcels_;
};

void seal(const Parcel& parcel) {
    std::memcpy(parcel.block, &parcel.number, sizeof parcel.number);
    std::memcpy(parcel.block + parcel.bytes - sizeof parcel.number, &parcel.number, sizeof parcel.number);
}

bool is_intact(const Parcel& parcel) {
    return std::memcmp(parcel.block, &parcel.number, sizeof parcel.number) == 0 &&
           std::memcmp(parcel.block + parcel.bytes - sizeof parcel.number, &parcel.number, sizeof parcel.number) == 0;
}

/// One thread of one side: allocates, sends half of it to the other side, frees what arrives.
class Worker {
  public:
    Worker(Heap& heap, Mailbox& in, Mailbox& out, std::uint64_t id) : heap_(heap), in_(in), out_(out), id_(id) {}

    void run(int rounds) {
        std::mt19937_64 random(id_);
        for (int round = 0; round < rounds; ++round) {
            make(random);
            if (random() % 2 == 0) {
                while (const auto parcel = in_.take()) open(*parcel);
            }
            if (heap_.has_remote_frees() && !heap_.drain()) ++errors;
        }
    }

    int errors = 0;

  private:
    void make(std::mt19937_64& random) {
        const std::size_t bytes = 16 + random() % (random() % 50 == 0 ? 200'000 : 500);
        const auto block = heap_.allocate(bytes);
        if (!block) {
            if (block.error().status != VMRPC_HEAP_FULL) ++errors;
            return;
        }
        const Parcel parcel{static_cast<std::byte*>(*block), bytes, (id_ << 32) | ++made_};
        seal(parcel);
        if (random() % 2 == 0)
            out_.put(parcel);
        else
            open(parcel);
    }
    void open(const Parcel& parcel) {
        if (!is_intact(parcel)) ++errors;
        if (!heap_.release(parcel.block)) ++errors;
    }

    Heap& heap_;
    Mailbox& in_;
    Mailbox& out_;
    std::uint64_t id_;
    std::uint64_t made_ = 0;
};

void expect_all_back(Sides& sides) {
    sides.settle();
    for (const Side side : {Side::kClient, Side::kServer}) {
        EXPECT_THAT(sides.of(side).violations(), ::testing::IsEmpty());
        EXPECT_EQ(sides.of(side).heap.stats().own.live_blocks, 0U);
        EXPECT_EQ(sides.of(side).heap.stats().remote_frees_received,
                  sides.of(other(side)).heap.stats().remote_frees_sent);
        EXPECT_TRUE(sides.of(side).heap.allocate(sides.of(side).heap.stats().own.reserved_bytes));
    }
}

TEST(HeapThreads, FreeEachOthersBlocksAcrossSides) {
    Sides sides(std::uint64_t{16} << 20);
    Mailbox to_client;
    Mailbox to_server;
    std::deque<Worker> workers;
    for (std::uint64_t i = 0; i < kThreadsPerSide; ++i) {
        workers.emplace_back(sides.client.heap, to_client, to_server, 2 * i);
        workers.emplace_back(sides.server.heap, to_server, to_client, 2 * i + 1);
    }
    std::vector<std::thread> threads;
    const int rounds = long_form() ? 500'000 : 5'000;
    for (Worker& worker : workers) threads.emplace_back([&worker, rounds] { worker.run(rounds); });
    for (std::thread& thread : threads) thread.join();
    for (const Worker& worker : workers) EXPECT_EQ(worker.errors, 0);
    while (const auto parcel = to_client.take()) EXPECT_TRUE(sides.client.heap.release(parcel->block));
    while (const auto parcel = to_server.take()) EXPECT_TRUE(sides.server.heap.release(parcel->block));
    EXPECT_GT(sides.client.heap.stats().remote_frees_sent, 0U);
    EXPECT_GT(sides.server.heap.stats().remote_frees_sent, 0U);
    expect_all_back(sides);
}

TEST(HeapThreads, SpillTogetherWhileTheOwnerDrains) {
    Sides sides;
    constexpr std::size_t each = 5'000;
    std::array<std::vector<void*>, kThreadsPerSide> blocks;
    for (auto& some : blocks) {
        for (std::size_t i = 0; i < each; ++i) some.push_back(sides.client.heap.allocate(32).value());
    }
    for (void* block : blocks[0]) EXPECT_TRUE(sides.server.heap.release(block));  // the queue is full from the start
    EXPECT_GT(sides.server.heap.stats().spilled_now, 0U);
    std::atomic<int> freeing{kThreadsPerSide - 1};
    std::vector<std::thread> threads;
    for (std::size_t i = 1; i < kThreadsPerSide; ++i) {
        threads.emplace_back([&sides, &freeing, &some = blocks[i]] {
            for (void* block : some) EXPECT_TRUE(sides.server.heap.release(block));
            --freeing;
        });
        // Until all are freed, not until all are back: what spills last has nobody here to retry it.
        threads.emplace_back([&sides, &freeing] {
            while (freeing != 0) EXPECT_TRUE(sides.client.heap.drain());
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_GT(sides.server.rings, 0);
    expect_all_back(sides);
}

TEST(HeapThreads, SetUpAndDestroyHeapsAtOnce) {
    Sides sides;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreadsPerSide; ++i) {
        threads.emplace_back([&sides] {
            for (int round = 0; round < 500; ++round) {
                const auto heap = sides.client.heap.setup(kSpanBytes);
                ASSERT_TRUE(heap);
                const auto block = sides.client.heap.allocate(100, {.heap = *heap});
                ASSERT_TRUE(block);
                EXPECT_EQ(status_of(sides.client.heap.destroy(*heap)), VMRPC_BUSY);
                EXPECT_TRUE(sides.client.heap.release(*block));
                EXPECT_TRUE(sides.client.heap.destroy(*heap));
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    expect_all_back(sides);
}

TEST(HeapThreads, GiveBackWhatTheyKeptWhenTheyEnd) {
    Sides sides(std::uint64_t{16} << 20);
    Heap& heap = sides.client.heap;
    for (int i = 0; i < 20; ++i) {
        std::thread([&heap] {
            std::vector<void*> blocks;
            for (std::size_t bytes = 16; bytes <= kSpanBytes; bytes += bytes / 4 + 16)
                blocks.push_back(heap.allocate(bytes).value());
            for (void* block : blocks) EXPECT_TRUE(heap.release(block));
        }).join();
    }
    EXPECT_TRUE(heap.allocate(heap.stats().own.reserved_bytes));
}

TEST(HeapThreads, OutliveTheHeapThatTheyUsed) {
    std::mutex mutex;
    std::condition_variable changed;
    int step = 0;
    const auto reach = [&](int reached) {
        const std::lock_guard lock(mutex);
        step = reached;
        changed.notify_all();
    };
    const auto await = [&](int awaited) {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return step >= awaited; });
    };
    auto sides = std::make_unique<Sides>();
    std::thread user([&] {
        EXPECT_TRUE(sides->client.heap.release(sides->client.heap.allocate(100).value()));
        reach(1);
        await(2);
        Sides others;  // whose heap must not be taken for the one that is gone
        void* block = others.client.heap.allocate(100).value();
        EXPECT_TRUE(others.client.heap.contains(block, 100));
    });
    await(1);
    sides.reset();
    reach(2);
    user.join();
}

TEST(HeapThreads, UseTwoHeapsInTurns) {
    Sides one;
    Sides two;
    std::vector<std::pair<Heap*, void*>> blocks;
    for (int i = 0; i < 1'000; ++i) {
        Heap& heap = i % 2 == 0 ? one.client.heap : two.client.heap;
        blocks.emplace_back(&heap, heap.allocate(32).value());
        EXPECT_TRUE(heap.contains(blocks.back().second, 32));
        Heap& wrong = i % 2 == 0 ? two.client.heap : one.client.heap;
        EXPECT_EQ(status_of(wrong.release(blocks.back().second)), VMRPC_BAD_FREE);
    }
    for (const auto& [heap, block] : blocks) EXPECT_TRUE(heap->release(block));
    EXPECT_EQ(one.client.heap.stats().own.live_blocks + two.client.heap.stats().own.live_blocks, 0U);
}

TEST(HeapThreads, AViolationIsToldOnce) {
    Sides sides;
    std::vector<void*> blocks;
    for (int i = 0; i < 400; ++i) blocks.push_back(sides.client.heap.allocate(32).value());
    sides.segment.queue(Side::kClient).tail.store_release(~std::uint64_t{0});
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < kThreadsPerSide; ++i) {
        threads.emplace_back([&, i] {
            for (std::size_t at = i * 100; at < (i + 1) * 100; ++at) {
                EXPECT_TRUE(sides.client.heap.release(blocks[at]));
                EXPECT_EQ(status_of(sides.client.heap.drain()), VMRPC_POISONED);
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_THAT(sides.client.violations(), ::testing::SizeIs(1));
}

}  // namespace
}  // namespace vmrpc::heap::test
