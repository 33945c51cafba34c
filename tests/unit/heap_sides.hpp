// Both sides of one heap in one process: two Heap objects over one anonymous mapping.
#pragma once

#include "heap/heap.hpp"
#include "layout/region.hpp"

#include <gtest/gtest.h>

#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <string>
#include <vector>

namespace vmrpc::heap::test {

using layout::RemoteFreeQueue;
using layout::Side;

/// What a result ended with.
template <class T>
vmrpc_status status_of(const base::Result<T>& result) {
    return result ? VMRPC_OK : result.error().status;
}
template <class T>
std::string text_of(const base::Result<T>& result) {
    return result ? std::string{} : result.error().text;
}

/// The long form of a test, asked for by VMRPC_TEST_LONG=1.
inline bool long_form() {
    const char* wish = std::getenv("VMRPC_TEST_LONG");  // NOLINT(concurrency-mt-unsafe): nobody sets it
    return wish != nullptr && *wish == '1';
}

/// A segment with the two queues and two arenas, unmapped at the end. Its base is at a multiple of 2 MiB.
class Segment {
  public:
    explicit Segment(std::uint64_t arena_bytes)
        : bytes_(kArenas + 2 * arena_bytes + kMaxAlignment), arena_bytes_(arena_bytes) {
        mapping_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (mapping_ == MAP_FAILED) throw std::bad_alloc{};
        const auto address = reinterpret_cast<std::uintptr_t>(mapping_);
        base_ = static_cast<std::byte*>(mapping_) + (round_up(address, kMaxAlignment) - address);
        for (const Side side : {Side::kClient, Side::kServer}) new (queue_address(side)) RemoteFreeQueue;
    }
    Segment(const Segment&) = delete;
    Segment& operator=(const Segment&) = delete;
    ~Segment() { ::munmap(mapping_, bytes_); }

    [[nodiscard]] std::byte* base() const { return base_; }
    [[nodiscard]] layout::Extent arena(Side side) const {
        return {kArenas + index_of(side) * arena_bytes_, arena_bytes_};
    }
    /// The queue of frees of `side`'s blocks.
    [[nodiscard]] RemoteFreeQueue& queue(Side side) const {
        return *std::launder(reinterpret_cast<RemoteFreeQueue*>(queue_address(side)));
    }

  private:
    static constexpr std::uint64_t kArenas = 5 * layout::kAreaBytes;  // not a multiple of 2 MiB: alignment is earned
    [[nodiscard]] std::byte* queue_address(Side side) const {
        return base_ + layout::kAreaBytes + index_of(side) * layout::kQueueStride;
    }

    std::uint64_t bytes_;
    std::uint64_t arena_bytes_;
    void* mapping_ = nullptr;
    std::byte* base_ = nullptr;
};

/// One side, and what it told its connection. Its callbacks use the heap: they would hang if a lock were held.
class OneSide {
  public:
    OneSide(const Segment& segment, Side side) : heap(config(segment, side)) {}

    std::atomic<int> rings{0};  // of the peer, by this side
    [[nodiscard]] std::vector<base::Error> violations() {
        const std::lock_guard lock(mutex_);
        return violations_;
    }

  private:
    HeapConfig config(const Segment& segment, Side side) {
        HeapConfig config;
        config.segment = segment.base();
        config.side = side;
        config.own = segment.arena(side);
        config.peer = segment.arena(other(side));
        config.own_queue = &segment.queue(side);
        config.peer_queue = &segment.queue(other(side));
        config.ring_peer = [this] {
            [[maybe_unused]] const auto stats = heap.stats();
            ++rings;
        };
        config.on_violation = [this](base::Error error) {
            [[maybe_unused]] const auto stats = heap.stats();
            const std::lock_guard lock(mutex_);
            violations_.push_back(std::move(error));
        };
        return config;
    }

    std::mutex mutex_;
    std::vector<base::Error> violations_;

  public:
    Heap heap;
};

/// A client's and a server's side.
struct Sides {
    explicit Sides(std::uint64_t arena_bytes = std::uint64_t{4} << 20)
        : segment(arena_bytes), client(segment, Side::kClient), server(segment, Side::kServer) {}
    [[nodiscard]] OneSide& of(Side side) { return side == Side::kClient ? client : server; }

    /// Drains both until nothing is under way.
    void settle() {
        for (int round = 0; round < 10'000; ++round) {
            const bool client_ok = client.heap.drain().has_value();
            const bool server_ok = server.heap.drain().has_value();
            if (!client_ok || !server_ok) return;
            const bool under_way = client.heap.stats().spilled_now + server.heap.stats().spilled_now != 0 ||
                                   client.heap.has_remote_frees() || server.heap.has_remote_frees();
            if (!under_way) return;
        }
        ADD_FAILURE() << "frees are still under way";
    }

    Segment segment;
    OneSide client;
    OneSide server;
};

}  // namespace vmrpc::heap::test
