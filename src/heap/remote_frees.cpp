#include "heap/remote_frees.hpp"

#include "layout/wild.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <utility>

namespace vmrpc::heap {

using layout::RemoteFreeQueue;
using layout::Wild;

base::Result<bool> RemoteFreeSender::send(std::uint64_t offset) {
    const std::lock_guard lock(lock_);
    if (spill_.empty()) [[likely]] {
        // The peer's line is looked at only when what is known of it says that the queue may be filling up.
        if (!has_room()) VMRPC_TRY(look_at_head());
        if (unread() < RemoteFreeQueue::kEntries) {
            put(offset);
            publish();
            return should_ring();
        }
    }
    try {
        spill_.push_back(offset);
    } catch (const std::bad_alloc&) {
        return no_private_memory();
    }
    return deliver();
}

base::Result<bool> RemoteFreeSender::retry() {
    const std::lock_guard lock(lock_);
    return deliver();
}

std::uint64_t RemoteFreeSender::sent() const {
    const std::lock_guard lock(lock_);
    return tail_;
}

base::Result<bool> RemoteFreeSender::deliver() {
    VMRPC_TRY(look_at_head());
    fill_queue();
    spilled_.store(spill_.size(), std::memory_order_relaxed);
    return should_ring();
}

/// The one place where the peer's head is loaded and checked: it may only move from where it was last seen towards the
/// tail.
base::Status RemoteFreeSender::look_at_head() {
    if (broken_) return tl::unexpected<base::Error>(*broken_);
    // Acquire pairs with the release store in RemoteFreeReceiver::drain(): the owner has read the entries before it,
    // and they may be overwritten.
    const Wild<std::uint64_t> head{queue_.head.load_acquire()};
    const auto unread_now = Wild<std::uint64_t>{tail_ - head.untrusted()}.at_most(unread());
    if (!unread_now) {
        broken_ = base::Error{VMRPC_POISONED,
                              fmt::format("the other side says that it has taken {} remote frees: not between the {} "
                                          "of before and the {} that were sent",
                                          head.untrusted(), head_, tail_)};
        return tl::unexpected<base::Error>(*broken_);
    }
    head_ = tail_ - *unread_now;
    return {};
}

/// The order of frees does not matter: no block is freed again before its owner has taken the first free.
void RemoteFreeSender::fill_queue() {
    const std::uint64_t old_tail = tail_;
    while (!spill_.empty() && unread() < RemoteFreeQueue::kEntries) {
        put(spill_.back());
        spill_.pop_back();
    }
    if (tail_ != old_tail) publish();
}

/// Once for each time that the queue passes half full, and always while something has spilled.
bool RemoteFreeSender::should_ring() {
    const bool was_past_half = std::exchange(past_half_, unread() >= RemoteFreeQueue::kEntries / 2);
    return !spill_.empty() || (past_half_ && !was_past_half);
}

base::Status RemoteFreeReceiver::drain(CachedArenas& arenas) {
    const auto unread = count_unread();
    if (!unread) return tl::unexpected<base::Error>(unread.error());
    if (*unread == 0) return {};
    std::uint64_t position = head_.load(std::memory_order_relaxed);
    const std::uint64_t end = position + *unread;
    for (; position != end; ++position) {
        if (position % kLineEntries == 0)  // the freer wrote it, and has it; beyond the end it is the freer's still
            base::prefetch(&queue_.offsets[std::min(position + kAheadEntries, end - 1) % RemoteFreeQueue::kEntries]);
        if (auto freed = free_one(arenas, position); !freed) return freed;
        head_.store(position + 1, std::memory_order_relaxed);
    }
    // Pairs with the acquire load in RemoteFreeSender::look_at_head(): the entries were read before it.
    queue_.head.store_release(end);
    return {};
}

/// The one place where the peer's tail is loaded and checked.
base::Result<std::uint64_t> RemoteFreeReceiver::count_unread() {
    if (broken_) return tl::unexpected<base::Error>(*broken_);
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    // Acquire pairs with the release store in RemoteFreeSender::fill_queue(): the entries below the tail are there.
    const Wild<std::uint64_t> tail{queue_.tail.load_acquire()};
    const auto unread = Wild<std::uint64_t>{tail.untrusted() - head}.at_most(RemoteFreeQueue::kEntries);
    if (unread) return *unread;
    return tl::unexpected<base::Error>(broken(fmt::format("the other side's remote-free queue says {} frees, of which "
                                                          "{} were taken: it holds at most {}",
                                                          tail.untrusted(), head, RemoteFreeQueue::kEntries))
                                           .error());
}

/// The one place where the peer's offsets are loaded. Whether one is a block's is looked up in private bookkeeping
/// alone; no address is ever made of it.
base::Status RemoteFreeReceiver::free_one(CachedArenas& arenas, std::uint64_t position) {
    // Relaxed: ordered by the acquire load of the tail.
    const Wild<std::uint64_t> wild{queue_.offsets[position % RemoteFreeQueue::kEntries].load_relaxed()};
    const auto offset = wild.below(arenas.range().end());
    if (!offset)
        return broken(fmt::format("the other side freed offset {}, beyond the arena's end at {}", wild.untrusted(),
                                  arenas.range().end()));
    if (const auto freed = arenas.free(*offset); !freed)
        return broken(fmt::format("the other side freed what it cannot free: {}", freed.error().text));
    return {};
}

base::Status RemoteFreeReceiver::broken(std::string text) {
    broken_ = base::Error{VMRPC_POISONED, std::move(text)};
    is_broken_.store(true, std::memory_order_relaxed);
    return tl::unexpected<base::Error>(*broken_);
}

}  // namespace vmrpc::heap
