#include "transport/vm/vm.hpp"

#include "transport/vm/protocol.hpp"
#include "transport/vm/transports.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace vmrpc::transport::vm {

std::uint64_t segment_bytes_for(const Wishes& most) {
    if (most.heap_bytes == 0) return Ivshmem::kDefaultSegmentBytes;
    const std::uint64_t half = (most.heap_bytes / 2 / layout::kAreaBytes + 1) * layout::kAreaBytes;
    const layout::RegionPlan plan =
        layout::plan_region(layout::kAreaBytes, {.lane_count = layout::kMaxLanes,
                                                 .stack_bytes = Ivshmem::kStackBytes,
                                                 .arena_bytes = std::max(half, layout::kMinArenaBytes)});
    // The first share is smaller by the header area.
    return std::bit_ceil(Ivshmem::kEntries * (plan.region_bytes + layout::kAreaBytes));
}

base::Result<std::shared_ptr<Vm>> Vm::make(const Service& service, const Peer& peer) {
    std::shared_ptr<Vm> vm(new Vm());
    vm->peer_ = peer;
    VMRPC_TRY(vm->make_memory(service));
    VMRPC_TRY(vm->make_bells());
    vm->format();
    return vm;
}

base::Status Vm::make_memory(const Service& service) {
    const std::uint64_t bytes = segment_bytes_for(service.most);
    uuid_ = layout::make_uuid();
    auto memory = make_segment_memory(bytes, service.most.huge_pages);
    if (!memory) return tl::unexpected(std::move(memory).error());
    memory_ = std::move(*memory);
    // Which addresses are free in processes that have not even started cannot be known: a random place is likely to be.
    auto mapping = Mapping::at_common_slot(SlotMap::all_free(), memory_.get(), bytes, uuid_);
    if (!mapping) mapping = Mapping::anywhere(memory_.get(), bytes, uuid_);
    if (!mapping) return tl::unexpected(std::move(mapping).error());
    mapping_ = std::move(*mapping);
    return {};
}

base::Status Vm::make_bells() {
    for (auto* bells : {&bells_, &interrupts_}) {
        for (notify::GuardedFd& bell : *bells) {
            bell = notify::GuardedFd::made_by([] { return ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); });
            if (!bell.valid()) return base::fail_errno("cannot make an eventfd for a VM", errno);
        }
    }
    return {};
}

void Vm::format() const {
    layout::format_segment(base(), bytes(), Ivshmem::kEntries, uuid_, "vmrpc");
    for (std::uint32_t i = 0; i < Ivshmem::kEntries; ++i) {
        auto& offer = directory_entry(base(), i).offer;
        offer.generation.store_relaxed(1);
        offer.agreed_address.store_relaxed(mapping_->address());
        offer.ring_vector.store_relaxed(kRequestVector);
    }
}

Vm::~Vm() {
    if (!memory_.valid() || mapping_ == nullptr) return;  // not finished, or a forked child
    for (std::uint32_t i = 0; i < Ivshmem::kEntries; ++i) close_entry(i);
    sentinel_.dismiss();
}

base::Status Vm::start_sentinel(const Service& service) {
    auto sentinel = Sentinel::start(
        service.sentinel, {"host", std::to_string(bytes()), std::to_string(Ivshmem::kEntries)}, {memory_.get()});
    if (!sentinel) return tl::unexpected(std::move(sentinel).error());
    sentinel_ = std::move(*sentinel);
    return {};
}

base::Status Vm::give_back(const layout::Extent& part) const {
    if (is_hugetlb(memory_.get())) return {};
    if (::fallocate(memory_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(part.offset),
                    static_cast<off_t>(part.bytes)) == 0)
        return {};
    return base::fail_errno(fmt::format("cannot clear {} bytes of a VM's segment at {}", part.bytes, part.offset),
                            errno);
}

// A page of the pool that is given back is anybody's: the next touch of its place could be a signal.
base::Status Vm::clear(const layout::Extent& part) const {
    if (!is_hugetlb(memory_.get())) return give_back(part);
    std::memset(base() + part.offset, 0, part.bytes);
    return {};
}

void Vm::ring_directory() const noexcept {
    const std::uint64_t one = 1;
    // The eventfd never blocks. What can fail (the counter is full) means that it has been rung already.
    static_cast<void>(!::write(bells_[kDirectoryVector].get(), &one, sizeof one));
}

void Vm::close_entry(std::uint32_t entry) const {
    auto& offer = directory_entry(base(), entry).offer;
    offer.status.store_relaxed(VMRPC_NO_SERVER);
    // release: pairs with the acquire load of who wants to claim, who then finds the status
    offer.state.store_release(static_cast<std::uint32_t>(layout::OfferState::kRefused));
}

}  // namespace vmrpc::transport::vm
