// Which blocks of an arena are live, in private memory: a byte for each place where a block can begin.
#pragma once

#include "heap/size_class.hpp"

#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

namespace vmrpc::heap {

/// Counts the places in an arena where a block can begin: its first byte, then one for each kMinBlockBytes.
using Granule = std::uint32_t;
/// As far as granules count.
inline constexpr std::uint64_t kMaxArenaBytes = (std::uint64_t{1} << 32) * kMinBlockBytes;

/// The states of an arena's blocks, readable and writable by any thread without a lock. They are only loaded and
/// stored: two threads that free one block at the same time, or a peer that frees what this side frees, may both find
/// it live. Such a block is handed out twice then, which is no worse than what its user, or that peer, can do to the
/// contents of blocks anyway; what spans and free runs rest on is checked under the arena's lock.
class BlockStates {
  public:
    /// 0: no live block begins here. Up to kCachedClasses: a live block of that class, plus 1.
    using State = std::uint8_t;
    static constexpr State kNone = 0;
    static constexpr State kLarge = 255;  // a live block of whole spans, of no class

    /// For an arena of that size, at most kMaxArenaBytes; no block is live. The memory is reserved, pages are taken as
    /// blocks are allocated. Throws std::bad_alloc.
    explicit BlockStates(std::uint64_t arena_bytes) : bytes_(arena_bytes / kMinBlockBytes) {
        if (bytes_ == 0) return;
        constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        void* mapped = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, kFlags, -1, 0);
        if (mapped == MAP_FAILED) throw std::bad_alloc{};
        states_ = static_cast<std::atomic<State>*>(mapped);
    }
    BlockStates(const BlockStates&) = delete;
    BlockStates& operator=(const BlockStates&) = delete;
    ~BlockStates() {
        if (states_ != nullptr) ::munmap(states_, bytes_);
    }

    /// By granule. Relaxed, and paired with nothing: who hands a block to another thread orders that itself.
    [[nodiscard]] std::atomic<State>* data() const { return states_; }
    [[nodiscard]] std::atomic<State>& at(Granule granule) const { return states_[granule]; }

  private:
    static_assert(sizeof(std::atomic<State>) == 1 && std::atomic<State>::is_always_lock_free);
    std::size_t bytes_;
    std::atomic<State>* states_ = nullptr;
};

}  // namespace vmrpc::heap
