// The two ends of a remote-free queue: how one side frees the other's blocks.
//
// The freer writes offsets and the tail, the owner the head, all single-writer words. Neither end trusts the other:
// each loads the peer's word once, checks it against its own private counters, and uses what was checked.
#pragma once

#include "base/brief_lock.hpp"
#include "base/cpu.hpp"
#include "base/result.hpp"
#include "heap/cached_arenas.hpp"
#include "layout/region.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

namespace vmrpc::heap {

/// Entries in a cache line, and how far ahead of its use a line is asked for.
inline constexpr std::uint64_t kLineEntries = base::kLineBytes / sizeof(layout::SharedWord<std::uint64_t>);
inline constexpr std::uint64_t kAheadEntries = 4 * kLineEntries;

/// The freer's end: shared by all threads of this side, under a private lock. Never blocks on the peer and never
/// loses a block: what does not fit into the queue is kept in a private list (the spill) until it does.
class RemoteFreeSender {
  public:
    /// Requires a queue whose tail and head are 0 (a fresh region), and that outlives this.
    explicit RemoteFreeSender(layout::RemoteFreeQueue& queue) : queue_(queue) {}

    /// Sends a block's offset. True: the peer should be rung, because the queue is past half full or has spilled.
    /// VMRPC_POISONED if the queue's head is impossible, now and ever after; VMRPC_OUT_OF_RESOURCES, with nothing
    /// done, if the spill cannot grow.
    base::Result<bool> send(std::uint64_t offset);

    /// send() where that is but an entry of the queue, as nearly always. False, and nothing is done, if the queue may
    /// be half full, is broken, or has spilled.
    bool send_at_once(std::uint64_t offset) noexcept {
        const std::lock_guard lock(lock_);
        if (!has_room() || !spill_.empty()) [[unlikely]]
            return false;
        put(offset);
        publish();
        return true;
    }

    /// Tries again to send what has spilled. As send().
    base::Result<bool> retry();

    /// Whether something has spilled: one relaxed load.
    [[nodiscard]] bool has_spilled() const { return spilled_.load(std::memory_order_relaxed) != 0; }
    /// Blocks in the spill.
    [[nodiscard]] std::size_t spilled() const { return spilled_.load(std::memory_order_relaxed); }
    /// Blocks that went into the queue so far.
    [[nodiscard]] std::uint64_t sent() const;

  private:
    base::Result<bool> deliver();
    base::Status look_at_head();
    void fill_queue();
    /// Pairs with the acquire load in RemoteFreeReceiver::count_unread(): the entries, and all that this side's threads
    /// did to the blocks, come before it.
    void publish() { queue_.tail.store_release(tail_); }
    void put(std::uint64_t offset) {
        const std::uint64_t position = tail_++;
        if (position % kLineEntries == 0)  // the owner has read the lines ahead, and has them: ask for one in time
            base::prefetch_to_write(&entry(position + kAheadEntries));
        entry(position).store_relaxed(offset);
    }
    [[nodiscard]] layout::SharedWord<std::uint64_t>& entry(std::uint64_t position) {
        return queue_.offsets[position % layout::RemoteFreeQueue::kEntries];
    }
    bool should_ring();
    [[nodiscard]] std::uint64_t unread() const { return tail_ - head_; }
    /// Without looking at the peer's head, which is its line: surely less than half full.
    [[nodiscard]] bool has_room() const { return unread() + 1 < layout::RemoteFreeQueue::kEntries / 2; }

    layout::RemoteFreeQueue& queue_;
    mutable base::BriefLock lock_;
    std::uint64_t tail_ = 0;  // what the queue's tail is, or becomes at the end of fill_queue()
    std::uint64_t head_ = 0;  // as last seen: head_ <= tail_ <= head_ + kEntries, whatever the peer writes
    bool past_half_ = false;  // and rung for it
    std::vector<std::uint64_t> spill_;
    // spill_.size(), for those who do not hold the lock; a hint, so relaxed and paired with nothing.
    std::atomic<std::size_t> spilled_{0};
    std::optional<base::Error> broken_;
};

/// The owner's end. drain() is called by one thread at a time (its owner locks), pending() by any.
class RemoteFreeReceiver {
  public:
    /// As RemoteFreeSender.
    explicit RemoteFreeReceiver(layout::RemoteFreeQueue& queue) : queue_(queue) {}

    /// Whether the peer has freed something since the last drain(): one load of the tail, one of a private word.
    /// False once the queue was found broken.
    [[nodiscard]] bool pending() const {
        // Relaxed: only a hint that drain() is worth its while; drain() itself loads the tail with acquire.
        return queue_.tail.load_relaxed() != head_.load(std::memory_order_relaxed) &&
               !is_broken_.load(std::memory_order_relaxed);
    }

    /// Frees what the queue holds, at most its capacity. VMRPC_POISONED, now and ever after, if the queue holds what
    /// no correct peer could have written: more than its capacity, or an offset where no live block of `arenas` begins.
    base::Status drain(CachedArenas& arenas);

    /// Blocks that the peer has freed so far. Any thread.
    [[nodiscard]] std::uint64_t received() const { return head_.load(std::memory_order_relaxed); }

  private:
    base::Result<std::uint64_t> count_unread();
    base::Status free_one(CachedArenas& arenas, std::uint64_t position);
    base::Status broken(std::string text);

    layout::RemoteFreeQueue& queue_;
    // Private, written under the owner's lock; atomic and relaxed because pending() reads it without.
    std::atomic<std::uint64_t> head_{0};
    std::atomic<bool> is_broken_{false};  // likewise
    std::optional<base::Error> broken_;
};

}  // namespace vmrpc::heap
