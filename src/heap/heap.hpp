// The transfer channel: the RPC heap of one connection, as one side sees it.
#pragma once

#include "base/result.hpp"
#include "heap/cached_arenas.hpp"
#include "heap/remote_frees.hpp"
#include "layout/region.hpp"
#include "layout/wild.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

namespace vmrpc::heap {

/// What a heap is built on. The pointers must outlive it; nothing here comes from the peer unchecked.
struct HeapConfig {
    std::byte* segment = nullptr;  // where the segment's base is mapped in this process
    layout::Side side = layout::Side::kClient;
    layout::Extent own;                             // this side's arena
    layout::Extent peer;                            // the other side's
    layout::RemoteFreeQueue* own_queue = nullptr;   // frees of our blocks: the peer writes its tail, we its head
    layout::RemoteFreeQueue* peer_queue = nullptr;  // frees of the peer's blocks: we write its tail, the peer its head
    /// Wakes the peer if it sleeps, so that it drains its queue. Called with no lock held, on any thread that uses the
    /// heap; must not block. It orders what was published against the peer's ring-me generation (a full fence) itself.
    std::function<void()> ring_peer;
    /// Told once when the peer broke the protocol (VMRPC_POISONED): the connection is to be poisoned. Called with no
    /// lock held, on the thread that found it.
    std::function<void(base::Error)> on_violation;
    /// Where the memory of this side's arena comes from. By default it is all there.
    CommitOptions commit = {};
    /// last_cache_of() finds the blocks that threads keep of this heap: for the one of a connection that is used most.
    bool is_remembered = true;
};

/// A side's view of the heap. Live blocks and bytes are those of this side's arena.
struct HeapStats {
    ArenaStats own;
    std::uint64_t committed_bytes = 0;  // of this side's arena: what the system has set aside for it
    std::uint64_t remote_frees_sent = 0;
    std::uint64_t remote_frees_received = 0;
    std::uint64_t spilled_now = 0;  // freed here, not yet told to their owner: its queue is full
};

/// Allocates in this side's arena and frees blocks of both. Every function may be called from any thread; none blocks,
/// but for short private mutexes. Whatever the peer writes into the region, only data is at its mercy. After a
/// violation (see HeapConfig::on_violation) local allocation and freeing go on, the peer's frees are no longer taken.
class Heap {
  public:
    /// Requires a fresh region (both queues' words are 0) that stays mapped while this lives. Throws std::bad_alloc.
    explicit Heap(HeapConfig config);
    Heap(const Heap&) = delete;
    Heap& operator=(const Heap&) = delete;
    ~Heap() { arenas_->close(); }

    /// A new block of at least `bytes` bytes in this side's arena (0 gives a distinct block of the smallest size), not
    /// cleared. It is the caller's until somebody, on either side, releases it. VMRPC_BAD_ARGUMENT: impossible size or
    /// alignment, unknown heap. VMRPC_HEAP_FULL: the text names the size and the largest free run.
    /// VMRPC_OUT_OF_RESOURCES: no private memory for the bookkeeping.
    base::Result<void*> allocate(std::size_t bytes, const Options& options = {});

    /// Frees a block of either side; nullptr is ignored. VMRPC_BAD_FREE: outside of both arenas, no live block of ours
    /// begins there, or none of the peer's can. A wrong free of a peer's block that looks possible is found by the
    /// peer, who poisons the connection. VMRPC_POISONED: a peer's block, and its queue was found broken.
    /// VMRPC_OUT_OF_RESOURCES: a peer's block that could not even be remembered; try again later.
    base::Status release(void* pointer);

    /// release() of a peer's block, where that is but an entry of its queue. False, and nothing is done, for anything
    /// else.
    bool release_remote_at_once(const void* pointer) noexcept {
        const std::uint64_t offset = offset_of(pointer);
        return layout::holds(config_.peer, offset, 1) && offset % kMinBlockBytes == 0 && sender_.send_at_once(offset);
    }

    /// The size of a block of this side, which may be more than was asked for: all of it may be used. VMRPC_BAD_FREE:
    /// no live block of ours begins there.
    [[nodiscard]] base::Result<std::uint64_t> usable_bytes(const void* pointer) const;

    /// Of this heap among all of this process, ever: by it last_cache_of() finds the thread's blocks of it.
    [[nodiscard]] std::uint64_t serial() const { return arenas_->serial(); }

    /// Takes the peer's frees of our blocks, at most a queue of them, and retries those that have spilled here. To be
    /// called in each round of polling that sees has_remote_frees(), and before sleeping. VMRPC_POISONED, now and ever
    /// after, if the peer's queue holds something impossible.
    base::Status drain();

    /// Whether drain() has something to take: two loads.
    [[nodiscard]] bool has_remote_frees() const { return receiver_.pending(); }

    /// Whether `bytes` bytes at `pointer` lie wholly within one of the two arenas. Says nothing of blocks.
    [[nodiscard]] bool contains(const void* pointer, std::size_t bytes) const;

    /// Sets up a further heap of `bytes` bytes within this side's arena. Errors as OwnArenas::setup().
    base::Result<HeapId> setup(std::size_t bytes);

    /// Destroys a heap of this side's. Refused with VMRPC_BUSY while blocks live in it. Errors as OwnArenas::destroy().
    base::Status destroy(HeapId heap);

    /// A snapshot of one heap of this side. VMRPC_BAD_ARGUMENT if there is no such heap. Frees and failures are of all.
    [[nodiscard]] base::Result<HeapStats> stats(HeapId heap) const;

    /// Gives the memory of all empty spans back at once, and what this thread keeps before. Blocks while the system, or
    /// the peer, takes it.
    void trim();
    /// What config.commit.arm asked for: gives back, in steps that keep nobody waiting for long, what has been empty
    /// for the heap's delay. Returns in how many nanoseconds to come again; nothing: when it is asked for. Waits for no
    /// lock, and for no peer.
    std::optional<std::int64_t> trim_on_timer();
    /// Commits all of this side's arena, and keeps it. Errors: VMRPC_OUT_OF_RESOURCES, VMRPC_HEAP_FULL (the limit).
    base::Status commit_all();

    /// A snapshot of all heaps together; the parts may be of slightly different moments.
    [[nodiscard]] HeapStats stats() const;

  private:
    /// An address below the segment wraps to an offset beyond every arena.
    [[nodiscard]] std::uint64_t offset_of(const void* pointer) const {
        return reinterpret_cast<std::uintptr_t>(pointer) - reinterpret_cast<std::uintptr_t>(config_.segment);
    }
    base::Status release_remote(std::uint64_t offset);
    [[nodiscard]] HeapStats with_frees(const ArenaStats& own) const;
    base::Status take_remote_frees();
    void retry_spilled();
    base::Status finish_sending(const base::Result<bool>& ring);
    base::Status report(base::Status status);

    const HeapConfig config_;
    const std::shared_ptr<CachedArenas> arenas_;
    std::mutex draining_;
    RemoteFreeReceiver receiver_;  // under draining_
    RemoteFreeSender sender_;
    std::atomic<bool> reported_{false};
};

}  // namespace vmrpc::heap
