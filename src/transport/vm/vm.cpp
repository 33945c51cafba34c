#include "transport/vm/vm.hpp"

#include "transport/memfd_pages.hpp"
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
namespace {

constexpr std::string_view kMadeOnHost = "vmrpc on the host";
constexpr std::string_view kMadeInGuest = "vmrpc in the guest";

void ring_eventfd(int eventfd) noexcept {
    const std::uint64_t one = 1;
    // It never blocks. What can fail (the counter is full) means that it has been rung already.
    static_cast<void>(!::write(eventfd, &one, sizeof one));
}

base::Status make_eventfds(std::vector<notify::GuardedFd>& eventfds, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
        eventfds.push_back(notify::GuardedFd::made_by([] { return ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); }));
        if (!eventfds.back().valid()) return base::fail_errno("cannot make an eventfd for a VM", errno);
    }
    return {};
}

/// What a server of before has left in an entry must not be taken for this one's.
std::uint32_t generation_after(const layout::DirectoryEntry& entry) {
    const std::uint32_t last = entry.offer.generation.load_relaxed();
    const std::uint32_t claimed = entry.claim.generation.load_relaxed();
    return last + 1 == claimed ? last + 2 : last + 1;
}

}  // namespace

base::Result<std::shared_ptr<Service>> make_service(std::string name, const ListenRequest& request,
                                                    ListenerEvents& events) {
    auto sentinel = find_sentinel();
    if (!sentinel) return tl::unexpected(std::move(sentinel).error());
    auto service = std::make_shared<Service>();
    service->name = std::move(name);
    service->most = request.most;
    service->max_connections = request.max_connections;
    service->read_limit_ns = Ivshmem::kReadLimitNs;
    service->sentinel = std::move(*sentinel);
    service->sink = std::make_shared<EventSink>();
    service->sink->events = &events;
    return service;
}

std::uint64_t segment_bytes_for(const Wishes& most, std::uint32_t entries) {
    if (most.heap_bytes == 0) return Ivshmem::kDefaultSegmentBytes;
    const std::uint64_t half = (most.heap_bytes / 2 / layout::kAreaBytes + 1) * layout::kAreaBytes;
    const layout::RegionPlan plan =
        layout::plan_region(layout::kAreaBytes, {.lane_count = layout::kMaxLanes,
                                                 .stack_bytes = Ivshmem::kStackBytes,
                                                 .arena_bytes = std::max(half, layout::kMinArenaBytes)});
    // The first share is smaller by the header area.
    return std::bit_ceil(entries * (plan.region_bytes + layout::kAreaBytes));
}

base::Result<std::shared_ptr<Vm>> Vm::make(const Service& service, const Peer& peer) {
    const std::uint64_t bytes = segment_bytes_for(service.most, service.entries);
    auto memory = make_segment_memory(bytes, service.most.huge_pages);
    if (!memory) return tl::unexpected(std::move(memory).error());
    std::shared_ptr<Vm> vm(new Vm());
    vm->peer_ = peer;
    vm->entries_ = service.entries;
    vm->uuid_ = layout::make_uuid();
    vm->memory_ = std::move(*memory);
    VMRPC_TRY(vm->map(bytes));
    VMRPC_TRY(vm->make_bells());
    vm->format();
    return vm;
}

base::Result<std::shared_ptr<Vm>> Vm::make_on(MemoryFile memory, const Service& service, const Peer& peer) {
    std::shared_ptr<Vm> vm(new Vm());
    vm->peer_ = peer;
    vm->entries_ = service.entries;
    vm->uuid_ = memory.uuid;
    vm->memory_offset_ = memory.segment_offset;
    vm->is_device_ = is_device(memory.file.get());
    vm->memory_ = std::move(memory.file);
    VMRPC_TRY(vm->commit({0, layout::kAreaBytes}));
    VMRPC_TRY(vm->map(memory.segment_bytes));
    VMRPC_TRY(vm->check_free());
    VMRPC_TRY(vm->make_bells());
    vm->format();
    return vm;
}

base::Result<std::shared_ptr<Vm>> Vm::make_in_ram(RamSegment ram, const Peer& peer) {
    std::shared_ptr<Vm> vm(new Vm());
    vm->peer_ = peer;
    vm->entries_ = 1;
    vm->uuid_ = ram.uuid;
    vm->is_ram_ = true;
    vm->memory_ = std::move(ram.file);
    vm->ram_taken_ = std::move(ram.taken);
    vm->mapping_ = std::move(ram.mapping);
    vm->ram_arguments_ = sentinel_arguments(ram.pieces, vm->bytes());
    VMRPC_TRY(vm->make_bells());
    vm->format();
    return vm;
}

base::Status Vm::map(std::uint64_t bytes) {
    // Which addresses are free in processes that have not even started cannot be known: a random place is likely to be.
    auto mapping = Mapping::at_common_slot(SlotMap::all_free(), memory(), bytes, uuid_);
    if (!mapping) mapping = Mapping::anywhere(memory(), bytes, uuid_);
    if (!mapping) return tl::unexpected(std::move(mapping).error());
    mapping_ = std::move(*mapping);
    return {};
}

base::Status Vm::make_bells() {
    VMRPC_TRY(make_eventfds(bells_, kVectors));
    return make_eventfds(interrupts_, vectors_for(entries_));
}

// Which side has written a header tells whether a server that has not said that it has ended is another one: on this
// side it would hold the lock on the memory.
base::Status Vm::check_free() const {
    const auto header = layout::read_segment(base(), bytes());
    const std::string_view other = is_device_ ? kMadeOnHost : kMadeInGuest;
    if (!header || std::string_view(header->made_by.data(), other.size()) != other) return {};
    for (std::uint32_t i = 0; i < header->directory_entries; ++i)
        if (directory_entry(base(), i).offer.state.load_relaxed() !=
            static_cast<std::uint32_t>(layout::OfferState::kRefused))
            return base::fail(VMRPC_ADDRESS_IN_USE,
                              fmt::format("a server {} serves this memory, or was cut off: end it; if there is none, "
                                          "make the memory file anew",
                                          is_device_ ? "on the host" : "in the guest"));
    return {};
}

void Vm::format() {
    auto& header = *reinterpret_cast<layout::SegmentHeader*>(base());
    header.magic = 0;
    // release: who finds an entry of this server's (acquire load of its state) finds that the header is gone, too
    std::atomic_thread_fence(std::memory_order_release);
    for (std::uint32_t i = 0; i < entries_; ++i) {
        auto& entry = directory_entry(base(), i);
        generations_.push_back(generation_after(entry));
        entry.offer.generation.store_relaxed(generations_.back());
        entry.offer.agreed_address.store_relaxed(mapping_->address());
        entry.offer.ring_vector.store_relaxed(layout::kLooks);
        entry.offer.status.store_relaxed(VMRPC_OK);
        entry.offer.state.store_release(static_cast<std::uint32_t>(layout::OfferState::kFree));
    }
    layout::format_segment(base(), bytes(), entries_, uuid_, is_device_ ? kMadeInGuest : kMadeOnHost);
}

Vm::~Vm() {
    if (!memory_.valid() || generations_.empty()) return;  // a forked child, or never this server's
    for (std::uint32_t i = 0; i < entries_; ++i) close_entry(i);
    sentinel_.dismiss();
    if (is_ram_) let_go_of_ram();
}

// The sentinel first: it must not write to pages that the guest's kernel has back already.
void Vm::let_go_of_ram() {
    auto& magic = reinterpret_cast<layout::SegmentHeader*>(base())->magic;
    std::atomic_ref(magic).store(kRamReleased, std::memory_order_release);  // pairs with the guest's sentinel
    mapping_.reset();
    set_streams(StreamKind::kVsock, nullptr);
}

base::Status Vm::start_sentinel(const Service& service) {
    const std::vector<std::string> arguments{"host", std::to_string(memory_offset_), std::to_string(bytes()),
                                             std::to_string(entries_)};
    auto sentinel = Sentinel::start(service.sentinel, is_ram_ ? ram_arguments_ : arguments, {memory_.get()});
    if (!sentinel) return tl::unexpected(std::move(sentinel).error());
    sentinel_ = std::move(*sentinel);
    return {};
}

base::Status Vm::give_back(const layout::Extent& part) const {
    if (has_others_pages() || is_hugetlb(memory_.get())) return {};
    if (::fallocate(memory_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    static_cast<off_t>(memory_offset_ + part.offset), static_cast<off_t>(part.bytes)) == 0)
        return {};
    return base::fail_errno(fmt::format("cannot clear {} bytes of a VM's segment at {}", part.bytes, part.offset),
                            errno);
}

// A page of the pool that is given back is anybody's: the next touch of its place could be a signal.
base::Status Vm::clear(const layout::RegionPlan& plan) const {
    if (!has_others_pages() && !is_hugetlb(memory_.get())) return give_back({plan.region_offset, plan.region_bytes});
    // Writing to all of a device would make all of its memory present.
    const std::uint64_t bytes = has_others_pages() ? plan.stacks_offset - plan.region_offset : plan.region_bytes;
    std::memset(base() + plan.region_offset, 0, bytes);
    return {};
}

// Before it is touched: a file system that is full answers here, and not by a signal. A memfd of ours is in none.
base::Status Vm::commit(const layout::Extent& part) const {
    if (has_own_memory() || has_others_pages() || MemfdPages(memory()).commit(part)) return {};
    return base::fail(
        VMRPC_OUT_OF_RESOURCES,
        fmt::format("the VM's memory has no {} bytes left on its file system: free some there", part.bytes));
}

void Vm::ring_directory() const noexcept {
    ring_eventfd(bells_[kDirectoryVector].get());
}

void Vm::ring_requests() const noexcept {
    ring_eventfd(bells_[kRequestVector].get());
}

void Vm::ring_process(std::uint32_t entry, std::uint32_t vector) const noexcept {
    if (vector < interrupts_.size() && has_doorbell()) ring_eventfd(interrupts_[vector].get());
    if (vector != kRungByStream) return;
    std::array<std::shared_ptr<RingsByStream>, kStreamKinds> streams;
    {
        const std::lock_guard lock(streams_mutex_);
        streams = streams_;
    }
    for (const auto& each : streams)
        if (each != nullptr) each->ring(entry);
}

bool Vm::has_streams() const noexcept {
    const std::lock_guard lock(streams_mutex_);
    return std::any_of(streams_.begin(), streams_.end(), [](const auto& each) { return each != nullptr; });
}

void Vm::set_streams(StreamKind kind, std::shared_ptr<RingsByStream> streams) noexcept {
    const std::lock_guard lock(streams_mutex_);
    streams_[static_cast<std::size_t>(kind)].swap(streams);
}

void Vm::close_entry(std::uint32_t entry) const {
    auto& offer = directory_entry(base(), entry).offer;
    offer.status.store_relaxed(VMRPC_NO_SERVER);
    // release: pairs with the acquire load of who wants to claim, who then finds the status
    offer.state.store_release(static_cast<std::uint32_t>(layout::OfferState::kRefused));
}

}  // namespace vmrpc::transport::vm
