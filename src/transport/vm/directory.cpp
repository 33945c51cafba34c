#include "transport/vm/directory.hpp"

#include "base/log.hpp"
#include "layout/stack_parts.hpp"
#include "transport/vm/protocol.hpp"
#include "transport/vm/transports.hpp"

#include <fmt/format.h>

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace vmrpc::transport::vm {
namespace {

using layout::ClaimState;
using layout::OfferState;

constexpr std::uint32_t kRefusalsLogged = 16;  // of each VM

bool is_live(std::uint32_t state) {
    return state == static_cast<std::uint32_t>(ClaimState::kClaimed) ||
           state == static_cast<std::uint32_t>(ClaimState::kMapped);
}

/// The smaller of two wishes, of which 0 is none.
template <class Count>
Count smaller_wish(Count one, Count other) {
    return one == 0 || other == 0 ? std::max(one, other) : std::min(one, other);
}

bool is_page_size(std::uint32_t bytes) {
    return bytes >= 4096 && bytes <= layout::kAreaBytes && (bytes & (bytes - 1)) == 0;
}

}  // namespace

base::Status check_claim(const ClaimCopy& claim, std::uint64_t segment_bytes) {
    constexpr std::uint64_t end_of_addresses = std::uint64_t{1} << 57;  // with five levels of page tables
    if ((claim.flags & ~(kClaimTrustsServer | kClaimCannotRing)) != 0)
        return base::fail(VMRPC_NOT_SUPPORTED, fmt::format("flags {:#x} are unknown here", claim.flags));
    if (!is_page_size(claim.page_bytes))
        return base::fail(VMRPC_NOT_SUPPORTED, fmt::format("pages of {} bytes: vmrpc's layout fits 4096 to {}",
                                                           claim.page_bytes, layout::kAreaBytes));
    if (claim.address % claim.page_bytes != 0 || claim.address == 0 || claim.address >= end_of_addresses ||
        segment_bytes > end_of_addresses - claim.address)
        return base::fail(VMRPC_BAD_ARGUMENT, fmt::format("address {:#x} cannot be", claim.address));
    if (claim.service != 0)
        return base::fail(VMRPC_NOT_SUPPORTED,
                          fmt::format("service {:#x} is unknown here: this server is the only one", claim.service));
    return {};
}

Directory::Directory(std::shared_ptr<Service> service, std::shared_ptr<Vm> vm)
    : service_(std::move(service)), vm_(std::move(vm)), entries_(vm_->entries()) {
    for (std::uint32_t i = 0; i < vm_->entries(); ++i) {
        entries_[i].index = i;
        entries_[i].generation = vm_->first_generation(i);
    }
}

void Directory::look() {
    for (Entry& entry : entries_) step(entry);
}

void Directory::step(Entry& entry) {
    const ClaimCopy claim = read_claim(entry);
    const bool is_for_us = claim.generation == entry.generation;
    switch (entry.phase) {
        case Phase::kFree:
            if (is_for_us && claim.state == static_cast<std::uint32_t>(ClaimState::kClaimed)) answer(entry, claim);
            // Given up before it was answered.
            if (is_for_us && claim.state == static_cast<std::uint32_t>(ClaimState::kGone)) free_again(entry);
            return;
        case Phase::kOffered:
            if (is_for_us && is_live(claim.state) && !entry.is_abandoned &&
                !entry.tenancy->over.load(std::memory_order_acquire))
                return;
            entry.phase = Phase::kDraining;
            set_state(entry, entry.phase);
            report_loss(entry);
            [[fallthrough]];
        case Phase::kDraining:
            // acquire: pairs with the link's release after its last use of the region
            if (!entry.tenancy->over.load(std::memory_order_acquire)) return;
            [[fallthrough]];
        case Phase::kRefused:
            if (!is_for_us || !is_live(claim.state) || entry.is_abandoned) free_again(entry);
            return;
    }
}

void Directory::answer(Entry& entry, const ClaimCopy& claim) {
    auto link = make_link(entry, claim);
    if (!link) return refuse(entry, claim, link.error());
    entry.phase = Phase::kOffered;
    entry.cannot_ring =
        (claim.flags & kClaimCannotRing) != 0 || (!vm_->has_doorbell() && claim.ring_vector != kRungByStream);
    entry.seen_rung = 0;
    entry.link = link->get();
    const std::lock_guard lock(service_->sink->mutex);
    if (service_->sink->events == nullptr) return;
    offer(entry, (*link)->plan());
    service_->sink->events->opened(std::move(*link));
}

base::Result<std::unique_ptr<ServerLink>> Directory::make_link(Entry& entry, const ClaimCopy& claim) {
    EventSink& sink = *service_->sink;
    VMRPC_TRY(check_claim(claim, vm_->bytes()));
    if (service_->max_connections != 0 && sink.places.load(std::memory_order_relaxed) >= service_->max_connections)
        return base::fail(VMRPC_OUT_OF_RESOURCES, fmt::format("the server has {} connections, the most that it takes: "
                                                              "close one, or raise the server's limit",
                                                              service_->max_connections));
    ServerLinkParts parts;
    parts.place = std::make_unique<Place>(service_->sink);
    const auto plan = plan_for(entry, claim);
    if (!plan) return tl::unexpected(plan.error());
    parts.plan = *plan;
    VMRPC_TRY(vm_->clear(*plan));
    // Control page, queues and lanes: what this side touches whatever the client does.
    VMRPC_TRY(vm_->commit({plan->region_offset, plan->stacks_offset - plan->region_offset}));
    VMRPC_TRY(advise_on_heap(vm_->base(), *plan));
    parts.bell =
        notify::GuardedFd::made_by([this] { return ::fcntl(vm_->bells()[kRequestVector].get(), F_DUPFD_CLOEXEC, 0); });
    parts.entry = entry.index;
    parts.interrupt = claim.ring_vector;
    if (!parts.bell.valid()) return base::fail_errno("no descriptor is left for a connection", errno);
    layout::format_region(vm_->base(), *plan);
    entry.tenancy = parts.tenancy = std::make_shared<Tenancy>();
    parts.client_address = claim.address;
    parts.vm = vm_;
    return std::make_unique<VmServerLink>(std::move(parts));
}

base::Result<layout::RegionPlan> Directory::plan_for(const Entry& entry, const ClaimCopy& claim) const {
    const Wishes& most = service_->most;
    const layout::Extent share = share_of(entry);
    // A VM's memory file is of what its file system is of.
    const vmrpc_huge_pages pages = vm_->has_own_memory() ? most.huge_pages : VMRPC_HUGE_PAGES_NONE;
    const std::uint64_t stack_bytes = pages == VMRPC_HUGE_PAGES_HUGETLB ? layout::kFramesOnlyStackBytes
                                      : vm_->is_ram()                   ? kRamStackBytes
                                                                        : Ivshmem::kStackBytes;
    // In a small segment fewer lanes, so that most of it is heap.
    const auto most_lanes =
        static_cast<std::uint32_t>(std::clamp<std::uint64_t>(share.bytes / 4 / stack_bytes, 2, layout::kMaxLanes));
    layout::RegionSizes sizes{.lane_count = std::clamp(smaller_wish(most.lane_count, claim.lane_count), 1U, most_lanes),
                              .stack_bytes = stack_bytes,
                              .arena_bytes = 0};
    auto plan = layout::plan_region_within(share.offset, share.bytes, sizes);
    if (!plan) return plan;
    if (const std::uint64_t heap_bytes = smaller_wish(most.heap_bytes, claim.heap_bytes); heap_bytes != 0) {
        const std::uint64_t half = heap_bytes / 2 / layout::kAreaBytes * layout::kAreaBytes;
        sizes.arena_bytes = std::min(std::max(half, layout::kMinArenaBytes), plan->arena_bytes);
        *plan = layout::plan_region(share.offset, sizes);
    }
    plan->epoch = entry.generation;
    plan->connection = ++service_->last_connection;
    const auto base = reinterpret_cast<std::uint64_t>(vm_->base());
    plan->agreed_address = most.equal_addresses && claim.address == base ? base : 0;
    plan->flags = region_flags(most, (claim.flags & kClaimTrustsServer) != 0, pages);
    return plan;
}

void Directory::refuse(Entry& entry, const ClaimCopy& claim, const base::Error& why) {
    // A guest could go on for ever, and fill the host's log.
    const auto level = ++refusals_ <= kRefusalsLogged ? spdlog::level::warn : spdlog::level::debug;
    base::log().log(level, "{}: VM {}: process {} refused: {}", service_->name, vm_->peer().vm, claim.pid, why.text);
    entry.phase = Phase::kRefused;
    offer_of(entry).status.store_relaxed(static_cast<std::uint32_t>(why.status));
    set_state(entry, entry.phase);
}

void Directory::offer(Entry& entry, const layout::RegionPlan& plan) {
    auto& offer = offer_of(entry);
    offer.region_offset.store_relaxed(plan.region_offset);
    offer.region_bytes.store_relaxed(plan.region_bytes);
    offer.agreed_address.store_relaxed(reinterpret_cast<std::uint64_t>(vm_->base()));
    offer.ring_vector.store_relaxed(entry.cannot_ring ? layout::kLooks : static_cast<std::uint32_t>(kRequestVector));
    offer.status.store_relaxed(VMRPC_OK);
    set_state(entry, entry.phase);
}

void Directory::report_loss(Entry& entry) {
    ServerLink* link = std::exchange(entry.link, nullptr);
    const auto sink = service_->sink;  // the event may end the listener
    const std::lock_guard lock(sink->mutex);
    // acquire: pairs with the link's release
    if (link == nullptr || entry.tenancy->over.load(std::memory_order_acquire)) return;
    if (sink->events != nullptr) sink->events->lost(link);
}

void Directory::free_again(Entry& entry) {
    if (const auto given_back = vm_->give_back(share_of(entry)); !given_back)
        base::log().error("{}: VM {}: {}", service_->name, vm_->peer().vm, given_back.error().text);
    entry.phase = Phase::kFree;
    entry.is_abandoned = false;
    entry.tenancy.reset();
    auto& offer = offer_of(entry);
    offer.generation.store_relaxed(++entry.generation);
    offer.status.store_relaxed(VMRPC_OK);
    set_state(entry, entry.phase);
}

void Directory::lose_all() {
    for (Entry& entry : entries_) {
        entry.is_abandoned = entry.phase != Phase::kFree;
        if (entry.phase != Phase::kOffered) continue;
        entry.phase = Phase::kDraining;
        report_loss(entry);
    }
}

bool Directory::has_changed() {
    bool changed = false;
    for (Entry& entry : entries_) {
        const ClaimCopy claim = read_claim(entry);
        changed |= claim.state != std::exchange(entry.seen_state, claim.state);
        changed |= claim.generation != std::exchange(entry.seen_generation, claim.generation);
    }
    return changed;
}

bool Directory::has_any_that_cannot_ring() const {
    return std::any_of(entries_.begin(), entries_.end(),
                       [](const Entry& entry) { return entry.phase == Phase::kOffered && entry.cannot_ring; });
}

bool Directory::has_rung() {
    bool rung = false;
    for (Entry& entry : entries_) {
        if (entry.phase != Phase::kOffered || !entry.cannot_ring) continue;
        const auto& control = *reinterpret_cast<const layout::ControlPage*>(vm_->base() + share_of(entry).offset);
        // acquire: pairs with the client's release; what it has published is seen by who is woken
        const std::uint32_t count = control.rung[layout::index_of(layout::Side::kServer)].count.load_acquire();
        rung |= count != std::exchange(entry.seen_rung, count);
    }
    return rung;
}

void Directory::close() {
    for (const Entry& entry : entries_) vm_->close_entry(entry.index);
}

ClaimCopy Directory::read_claim(const Entry& entry) const {
    const auto& claim = directory_entry(vm_->base(), entry.index).claim;
    ClaimCopy copy;
    // Both pair with the claimant's release. The generation first: with a new one comes no state of the claim before.
    copy.generation = claim.generation.load_acquire();
    copy.state = claim.state.load_acquire();  // the rest is loaded after it
    copy.pid = claim.pid.load_relaxed();
    copy.page_bytes = claim.page_bytes.load_relaxed();
    copy.flags = claim.flags.load_relaxed();
    copy.address = claim.address.load_relaxed();
    copy.heap_bytes = claim.heap_bytes.load_relaxed();
    copy.lane_count = claim.lane_count.load_relaxed();
    copy.ring_vector = claim.ring_vector.load_relaxed();
    copy.service = claim.service.load_relaxed();
    return copy;
}

layout::DirectoryOffer& Directory::offer_of(const Entry& entry) const {
    return directory_entry(vm_->base(), entry.index).offer;
}

layout::Extent Directory::share_of(const Entry& entry) const {
    return share_of_entry(vm_->bytes(), vm_->entries(), entry.index);
}

void Directory::set_state(const Entry& entry, Phase phase) const {
    constexpr std::array states{OfferState::kFree, OfferState::kOffered, OfferState::kRefused, OfferState::kDraining};
    // release: pairs with the claimant's acquire load, which then finds the rest of the line
    offer_of(entry).state.store_release(static_cast<std::uint32_t>(states[static_cast<std::size_t>(phase)]));
}

}  // namespace vmrpc::transport::vm
