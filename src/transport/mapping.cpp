#include "transport/mapping.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <mutex>
#include <system_error>
#include <utility>

namespace vmrpc::transport {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
constexpr int kTries = 8;

// All mappings of this process. Guarded by ForkLock::kMappings; never destroyed, as static objects may hold links.
std::map<Mapping::Identity, std::weak_ptr<Mapping>>& mappings() {
    static auto& map = *new std::map<Mapping::Identity, std::weak_ptr<Mapping>>();
    return map;
}

base::Result<Mapping::Identity> identify(base::FilePlace memory, const layout::Uuid& uuid) {
    struct stat status {};
    if (::fstat(memory.descriptor, &status) != 0) return base::fail_errno("cannot look at the segment's memory", errno);
    return Mapping::Identity{uuid, status.st_dev, status.st_ino, memory.offset};
}

}  // namespace

namespace {

base::Result<notify::GuardedFd> sealed(notify::GuardedFd memory, std::uint64_t bytes) {
    if (::ftruncate(memory.get(), static_cast<off_t>(bytes)) != 0)
        return base::fail_errno(fmt::format("cannot make shared memory of {} bytes", bytes), errno);
    if (::fcntl(memory.get(), F_ADD_SEALS, kSeals) != 0) return base::fail_errno("cannot seal shared memory", errno);
    return memory;
}

tl::unexpected<base::Error> cannot_map(int memory, std::uint64_t bytes, int error_number) {
    if (error_number != ENOMEM || !is_hugetlb(memory))
        return base::fail_errno(fmt::format("cannot map {} bytes of shared memory", bytes), error_number);
    return base::fail(VMRPC_OUT_OF_RESOURCES,
                      fmt::format("{} huge pages of 2 MiB are needed, the system's pool has {} free: raise "
                                  "vm.nr_hugepages, wish a smaller heap_bytes, or do without huge_pages",
                                  bytes / kHugePageBytes, free_huge_pages().value_or(0)));
}

}  // namespace

base::Result<notify::GuardedFd> make_segment_memory(std::uint64_t bytes, vmrpc_huge_pages pages) {
    const bool of_pool = pages == VMRPC_HUGE_PAGES_HUGETLB;
    if (of_pool && !free_huge_pages())
        return base::fail(VMRPC_NOT_SUPPORTED, "this system has no pool of huge pages of 2 MiB: do without huge_pages");
    if (pages == VMRPC_HUGE_PAGES_TRANSPARENT) VMRPC_TRY(check_transparent());
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | (of_pool ? MFD_HUGETLB | MFD_HUGE_2MB : 0U);
    auto memory = notify::GuardedFd::made_by([flags] { return ::memfd_create("vmrpc", flags); });
    if (!memory.valid())
        return base::fail_errno(
            fmt::format("cannot make shared memory{}: memfd_create", of_pool ? " of huge pages" : ""), errno);
    return sealed(std::move(memory), bytes);
}

base::Status advise_on_heap(std::byte* segment, const layout::RegionPlan& plan) {
    if ((plan.flags & layout::kRegionTransparent) == 0) return {};
    return advise_transparent(segment + plan.arenas_offset, 2 * plan.arena_bytes);
}

base::Status prepare_memory(std::byte* base, std::uint64_t bytes, const Preparation& how) {
    if (how.lock) VMRPC_TRY(lock_memory(base, bytes));
    if (how.prefault) VMRPC_TRY(prefault_memory(base, bytes));
    return {};
}

base::Status prefault_memory(std::byte* base, std::uint64_t bytes) {
    constexpr std::uint64_t most_at_once = std::uint64_t{64} * 1024 * 1024;
    for (std::uint64_t done = 0; done < bytes; done += most_at_once) {
        int result = 0;
        do result = ::madvise(base + done, std::min(bytes - done, most_at_once), MADV_POPULATE_WRITE);
        while (result != 0 && (errno == EINTR || errno == EAGAIN));
        if (result != 0 && errno == EINVAL)
            return base::fail(VMRPC_NOT_SUPPORTED,
                              "prefault and transparent huge pages need Linux 5.14 (MADV_POPULATE_WRITE): do without "
                              "them");
        if (result != 0)
            return base::fail(
                VMRPC_OUT_OF_RESOURCES,
                fmt::format("cannot take {} bytes of memory ahead: {}; free memory, or wish a smaller heap_bytes",
                            bytes, std::generic_category().message(errno)));
    }
    return {};
}

base::Status lock_memory(std::byte* base, std::uint64_t bytes) {
    // What was not touched yet is locked when it is: a heap that is locked is no larger than it would be otherwise.
    if (::mlock2(base, bytes, MLOCK_ONFAULT) == 0) return {};
    const int error = errno;
    rlimit limit{};
    ::getrlimit(RLIMIT_MEMLOCK, &limit);
    return base::fail(
        VMRPC_OUT_OF_RESOURCES,
        fmt::format("cannot lock {} bytes: {}; RLIMIT_MEMLOCK is {} bytes: raise it (ulimit -l, LimitMEMLOCK= of a "
                    "service, CAP_IPC_LOCK), wish a smaller heap_bytes, or do without lock",
                    bytes, std::generic_category().message(error), limit.rlim_cur));
}

base::Status check_segment_memory(int descriptor, std::uint64_t bytes) {
    const int seals = ::fcntl(descriptor, F_GET_SEALS);
    if (seals < 0 || (seals & kSeals) != kSeals)
        return base::fail(VMRPC_POISONED,
                          "the peer's shared memory is not a sealed memfd: it could be cut off under "
                          "this process, so it is refused");
    struct stat status {};
    if (::fstat(descriptor, &status) != 0) return base::fail_errno("cannot look at the peer's shared memory", errno);
    if (static_cast<std::uint64_t>(status.st_size) != bytes)
        return base::fail(VMRPC_POISONED, fmt::format("the peer's shared memory has {} bytes, the peer says {}",
                                                      status.st_size, bytes));
    return {};
}

Mapping::Mapping(std::byte* base, std::uint64_t bytes, const Identity& identity)
    : base_(base), bytes_(bytes), identity_(identity), generation_(notify::process_generation()) {}

Mapping::~Mapping() {
    // In a forked child the range was never mapped, and may hold something else by now.
    if (generation_ != notify::process_generation()) return;
    {
        const std::lock_guard lock(fork_lock(notify::ForkLock::kMappings));
        const auto found = mappings().find(identity_);
        if (found != mappings().end() && found->second.expired()) mappings().erase(found);
    }
    ::munmap(base_, bytes_);  // takes long if much was used: without the lock
}

base::Result<std::shared_ptr<Mapping>> Mapping::at_locked(void* base, base::FilePlace memory, std::uint64_t bytes,
                                                          const layout::Uuid& uuid) {
    const auto identity = identify(memory, uuid);
    if (!identity) return tl::unexpected(identity.error());
    // Nothing is reserved for shared memory thereby, but for huge pages: all of them.
    void* mapped = ::mmap(base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, memory.descriptor,
                          static_cast<off_t>(memory.offset));
    if (mapped == MAP_FAILED && errno == EEXIST)
        return base::fail(VMRPC_OUT_OF_RESOURCES, fmt::format("something else is mapped at {}", base));
    if (mapped == MAP_FAILED) return cannot_map(memory.descriptor, bytes, errno);
    // Kernels before 4.17 do not know MAP_FIXED_NOREPLACE and take the address as a wish.
    if (mapped != base || ::madvise(mapped, bytes, MADV_DONTFORK) != 0 ||
        ::madvise(mapped, bytes, MADV_DONTDUMP) != 0) {
        ::munmap(mapped, bytes);
        return base::fail(VMRPC_OUT_OF_RESOURCES, fmt::format("the system does not map shared memory at {}", base));
    }
    std::shared_ptr<Mapping> mapping(new Mapping(static_cast<std::byte*>(mapped), bytes, *identity));
    mappings()[*identity] = mapping;
    return mapping;
}

base::Result<std::shared_ptr<Mapping>> Mapping::at(std::uint64_t address, base::FilePlace memory, std::uint64_t bytes,
                                                   const layout::Uuid& uuid) {
    if (address == 0 || address % kMappingAlignment != 0)
        return base::fail(VMRPC_BAD_ARGUMENT, fmt::format("{:#x} is not an address for a segment", address));
    // The lock keeps a fork from falling between mmap and MADV_DONTFORK.
    const std::lock_guard lock(fork_lock(notify::ForkLock::kMappings));
    return at_locked(reinterpret_cast<void*>(address), memory, bytes, uuid);
}

base::Result<std::shared_ptr<Mapping>> Mapping::at_common_slot(const SlotMap& theirs, base::FilePlace memory,
                                                               std::uint64_t bytes, const layout::Uuid& uuid) {
    for (int i = 0; i < kTries; ++i) {
        const auto ours = own_free_slots();
        if (!ours) return tl::unexpected(ours.error());
        const auto address = (*ours & theirs).find(bytes, random_slot());
        if (!address) break;
        auto mapping = at(*address, memory, bytes, uuid);
        if (mapping || is_hugetlb(memory.descriptor)) return mapping;  // a pool that is empty is so everywhere
    }
    return base::fail(VMRPC_OUT_OF_RESOURCES,
                      fmt::format("no {} bytes of address space are free on both sides", bytes));
}

base::Result<std::shared_ptr<Mapping>> Mapping::anywhere(base::FilePlace memory, std::uint64_t bytes,
                                                         const layout::Uuid& uuid) {
    auto mapping = at_aligned_gap(memory, bytes, uuid);
    // Another thread may have taken the gap between finding and using it.
    for (int i = 1; i < kTries && !mapping; ++i) mapping = at_aligned_gap(memory, bytes, uuid);
    return mapping;
}

base::Result<std::shared_ptr<Mapping>> Mapping::at_aligned_gap(base::FilePlace memory, std::uint64_t bytes,
                                                               const layout::Uuid& uuid) {
    const std::uint64_t gap_bytes = bytes + kMappingAlignment;
    void* gap = ::mmap(nullptr, gap_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (gap == MAP_FAILED)
        return base::fail_errno(fmt::format("no room for {} bytes in the address space", bytes), errno);
    ::munmap(gap, gap_bytes);
    const auto begin = reinterpret_cast<std::uint64_t>(gap);
    return at((begin + kMappingAlignment - 1) / kMappingAlignment * kMappingAlignment, memory, bytes, uuid);
}

std::shared_ptr<Mapping> Mapping::existing(base::FilePlace memory, const layout::Uuid& uuid) {
    const auto identity = identify(memory, uuid);
    if (!identity) return nullptr;
    const std::lock_guard lock(fork_lock(notify::ForkLock::kMappings));
    const auto found = mappings().find(*identity);
    return found == mappings().end() ? nullptr : found->second.lock();
}

base::Result<std::shared_ptr<Mapping>> map_offered(base::FilePlace memory, std::uint64_t bytes,
                                                   const layout::Uuid& uuid, std::uint64_t server_address,
                                                   bool equal_addresses) {
    base::Result<std::shared_ptr<Mapping>> mapping = nullptr;
    if (equal_addresses) {
        mapping = Mapping::existing(memory, uuid);
        if (*mapping == nullptr && in_slots(server_address, bytes))
            mapping = Mapping::at(server_address, memory, bytes, uuid);
    }
    if (!mapping || *mapping == nullptr) mapping = Mapping::anywhere(memory, bytes, uuid);
    // Equal by chance, and not wished: another place, while this one is still taken.
    if (mapping && !equal_addresses && (*mapping)->address() == server_address)
        mapping = Mapping::anywhere(memory, bytes, uuid);
    return mapping;
}

}  // namespace vmrpc::transport
