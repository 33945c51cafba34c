#include "call/endpoint.hpp"

#include "call/addresses.hpp"
#include "call/probes.hpp"

#include <utility>

namespace vmrpc::call {
namespace {

using layout::RemoteFreeQueue;
using layout::Side;

/// The queue of what was freed of `owner`'s arena.
RemoteFreeQueue* queue_of(std::byte* segment, const layout::RegionPlan& plan, Side owner) {
    return reinterpret_cast<RemoteFreeQueue*>(segment + plan.queues_offset + index_of(owner) * layout::kQueueStride);
}

}  // namespace

Endpoint::Endpoint(transport::Link& link, Side side, const heap::CommitOptions& commit, heap::Pages* pages)
    : vmrpc_connection{.kind = side == Side::kClient ? HandleKind::kClient : HandleKind::kServerEnd},
      link_(link),
      side_(side),
      segment_(link.segment()),
      plan_(link.plan()),
      control_(*reinterpret_cast<layout::ControlPage*>(segment_ + plan_.region_offset)),
      peer_segment_address_(link.peer_segment_address()),
      data_{plan_.stacks_offset, plan_.region_offset + plan_.region_bytes - plan_.stacks_offset},
      heap_(std::make_unique<heap::Heap>(heap::HeapConfig{
          .segment = segment_,
          .side = side,
          .own = {plan_.arena_offset(side), plan_.arena_bytes},
          .peer = {plan_.arena_offset(other(side)), plan_.arena_bytes},
          .own_queue = queue_of(segment_, plan_, side),
          .peer_queue = queue_of(segment_, plan_, other(side)),
          .ring_peer = [this] { ring_peer(); },
          .on_violation = [this](base::Error error) { on_violation(std::move(error)); },
          .commit = {.pages = link.pages() != nullptr ? link.pages() : pages,
                     .limit_bytes = commit.limit_bytes,
                     .trim_after_ns = commit.trim_after_ns,
                     .arm = [this](std::int64_t delay_ns) { return trimmer_.arm(delay_ns); }},
      })),
      further_({.this_side = side,
                .trim_after_ns = commit.trim_after_ns,
                .ring_peer = [this] { ring_peer(); },
                .on_violation = [this](base::Error error) { on_violation(std::move(error)); }}) {
    trimmer_.attach(*heap_);
    heap_serial.store(heap_->serial(), std::memory_order_relaxed);
    add_addresses(*this);
    link.watch_segments(further_);  // last: from here on the link tells us
}

Endpoint::~Endpoint() {
    remove_addresses(*this);
}

base::Status Endpoint::prepare_heap(transport::Link& link, const transport::Preparation& how) {
    if (how.prefault) VMRPC_TRY(heap_->commit_all());
    if (!how.prefault && !how.lock) return {};
    return link.prepare({plan_.arenas_offset, 2 * plan_.arena_bytes}, how);
}

void Endpoint::ring_peer() {
    probe_wake(plan_.connection, static_cast<std::uint32_t>(index_of(other(side_))));
    link_.ring();
}

layout::Lane& Endpoint::lane(std::uint32_t index) const {
    return reinterpret_cast<layout::Lane*>(segment_ + plan_.lanes_offset)[index];
}

std::optional<layout::WireOffset> Endpoint::to_wire(const void* pointer, std::uint64_t bytes) const {
    const std::uint64_t offset = reinterpret_cast<std::uintptr_t>(pointer) - reinterpret_cast<std::uintptr_t>(segment_);
    if (layout::holds(data_, offset, bytes)) [[likely]]
        return layout::to_wire(0, offset);
    return further_.any() ? further_.to_wire(pointer, bytes) : std::nullopt;
}

std::byte* Endpoint::from_wire(layout::WireOffset wire, std::uint64_t bytes, std::uint64_t alignment) const {
    return tame(layout::Wild(wire), layout::Wild(bytes), 1, alignment).value_or(nullptr);
}

std::span<std::byte> Endpoint::range_holding(const void* address) const {
    const auto offset = reinterpret_cast<std::uintptr_t>(address) - reinterpret_cast<std::uintptr_t>(segment_);
    if (layout::holds(data_, offset, 1)) return {segment_ + data_.offset, data_.bytes};
    return further_.any() ? further_.range_holding(address) : std::span<std::byte>();
}

bool Endpoint::end(base::Error reason) {
    const std::scoped_lock lock(mutex_);
    if (over_.load(std::memory_order_relaxed)) return false;
    reason_ = std::move(reason);
    over_.store(true, std::memory_order_release);
    // relaxed: what the long ways find is ordered by over_
    open_serial.store(0, std::memory_order_relaxed);
    heap_serial.store(0, std::memory_order_relaxed);
    return true;
}

void Endpoint::open(std::uint64_t serial) {
    const std::scoped_lock lock(mutex_);
    if (!over_.load(std::memory_order_relaxed)) open_serial.store(serial, std::memory_order_relaxed);
}

base::Status Endpoint::why_over() const {
    const std::scoped_lock lock(mutex_);
    return tl::unexpected<base::Error>(reason_);
}

}  // namespace vmrpc::call
