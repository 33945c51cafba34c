#include "heap/heap.hpp"

#include <fmt/format.h>

#include <utility>

namespace vmrpc::heap {
namespace {

/// Given back in one go: about a millisecond, for which other threads of this side may wait.
constexpr std::uint64_t kTrimStepBytes = std::uint64_t{4} * 1024 * 1024;
/// In one call of the timer's: others wait for that thread, too.
constexpr int kTrimSteps = 16;

}  // namespace

Heap::Heap(HeapConfig config)
    : config_(std::move(config)),
      arenas_(std::make_shared<CachedArenas>(config_.segment, config_.own, config_.commit, config_.is_remembered)),
      receiver_(*config_.own_queue),
      sender_(*config_.peer_queue) {}

bool Heap::contains(const void* pointer, std::size_t bytes) const {
    const std::uint64_t offset = offset_of(pointer);
    return layout::holds(config_.own, offset, bytes) || layout::holds(config_.peer, offset, bytes);
}

base::Result<void*> Heap::allocate(std::size_t bytes, const Options& options) {
    if (void* block = arenas_->allocate_cached(bytes, options)) return block;
    retry_spilled();
    // What the peer has freed first, before memory that was never used is touched. A violation does not concern our own
    // memory: it is reported, and the block is as good as before.
    if (has_remote_frees()) [[maybe_unused]]
        const auto taken = take_remote_frees();
    return arenas_->allocate(bytes, options);
}

base::Status Heap::release(void* pointer) {
    if (pointer == nullptr) return {};
    if (ThreadCache* mine = last_cache_of(serial()); mine != nullptr && mine->give(pointer)) return {};
    retry_spilled();
    if (has_remote_frees()) [[maybe_unused]]
        const auto taken = take_remote_frees();  // reported, if it failed
    const std::uint64_t offset = offset_of(pointer);
    if (layout::holds(config_.own, offset, 1)) return arenas_->free(offset);
    if (layout::holds(config_.peer, offset, 1)) return release_remote(offset);
    return base::fail(VMRPC_BAD_FREE, fmt::format("{} is not in this connection's heap: it was allocated elsewhere",
                                                  fmt::ptr(pointer)));
}

base::Status Heap::release_remote(std::uint64_t offset) {
    // Only its owner knows whether it is a block; what cannot be one is not worth the connection.
    if (offset % kMinBlockBytes != 0)
        return base::fail(VMRPC_BAD_FREE, fmt::format("no block of the other side begins at offset {}: blocks begin at "
                                                      "multiples of {}",
                                                      offset, kMinBlockBytes));
    return finish_sending(sender_.send(offset));
}

base::Status Heap::drain() {
    retry_spilled();
    return take_remote_frees();
}

base::Status Heap::take_remote_frees() {
    base::Status drained;
    {
        const std::lock_guard lock(draining_);
        drained = receiver_.drain(*arenas_);
    }
    return report(std::move(drained));
}

void Heap::retry_spilled() {
    if (!sender_.has_spilled()) return;
    [[maybe_unused]] const auto sent = finish_sending(sender_.retry());  // reported, if it failed
}

base::Status Heap::finish_sending(const base::Result<bool>& ring) {
    if (!ring) return report(tl::unexpected<base::Error>(ring.error()));
    if (*ring && config_.ring_peer) config_.ring_peer();
    return {};
}

/// Passes `status` on, and tells of the first violation. Called with no lock held.
base::Status Heap::report(base::Status status) {
    // Relaxed: whichever thread is first reports; nothing is published with it.
    if (!status && status.error().status == VMRPC_POISONED && !reported_.exchange(true, std::memory_order_relaxed) &&
        config_.on_violation)
        config_.on_violation(status.error());
    return status;
}

base::Result<std::uint64_t> Heap::usable_bytes(const void* pointer) const {
    return arenas_->usable_bytes(offset_of(pointer));
}

base::Result<HeapId> Heap::setup(std::size_t bytes) {
    return arenas_->setup(bytes);
}

base::Status Heap::destroy(HeapId heap) {
    // The peer may have freed the last blocks of it.
    if (has_remote_frees()) [[maybe_unused]]
        const auto taken = take_remote_frees();
    return arenas_->destroy(heap);
}

void Heap::trim() {
    if (has_remote_frees()) [[maybe_unused]]
        const auto taken = take_remote_frees();
    while (arenas_->trim(kTrimStepBytes) != 0) {
    }
}

std::optional<std::int64_t> Heap::trim_on_timer() {
    std::optional<std::int64_t> again_in_ns = 0;
    for (int step = 0; step < kTrimSteps && again_in_ns == 0; ++step)
        again_in_ns = arenas_->trim_on_timer(kTrimStepBytes);
    return again_in_ns;
}

base::Status Heap::commit_all() {
    return arenas_->commit_all();
}

HeapStats Heap::stats() const {
    return with_frees(arenas_->stats());
}

base::Result<HeapStats> Heap::stats(HeapId heap) const {
    return arenas_->stats(heap).map([this](const ArenaStats& own) { return with_frees(own); });
}

HeapStats Heap::with_frees(const ArenaStats& own) const {
    return {.own = own,
            .committed_bytes = arenas_->committed_bytes(),
            .remote_frees_sent = sender_.sent(),
            .remote_frees_received = receiver_.received(),
            .spilled_now = sender_.spilled()};
}

}  // namespace vmrpc::heap
