#include "transport/vm/vsock/guest_memory.hpp"

#include "layout/wild.hpp"

#include <fmt/format.h>

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <cerrno>
#include <mutex>

namespace vmrpc::transport::vm::vsock {
namespace {

bool overlap(std::uint64_t one, std::uint64_t one_bytes, std::uint64_t other, std::uint64_t other_bytes) {
    return one < other + other_bytes && other < one + one_bytes;  // neither sum overflows: checked before
}

bool ends_in_range(std::uint64_t begin, std::uint64_t bytes) {
    std::uint64_t end = 0;
    return !__builtin_add_overflow(begin, bytes, &end);
}

std::string name_of(const MemoryRegion& region) {
    return fmt::format("the memory region of {} bytes at {:#x}", region.bytes, region.guest_address);
}

base::Status check(const MemoryRegion& region) {
    const auto is_aligned = [](std::uint64_t value) { return value % GuestMemory::kAlignment == 0; };
    if (region.bytes == 0 || region.bytes > GuestMemory::kMaxBytes)
        return base::fail(VMRPC_POISONED,
                          fmt::format("{} is empty or larger than {}", name_of(region), GuestMemory::kMaxBytes));
    if (!is_aligned(region.guest_address) || !is_aligned(region.bytes) || !is_aligned(region.user_address) ||
        !is_aligned(region.file_offset))
        return base::fail(VMRPC_POISONED, fmt::format("{} (at {:#x} in QEMU, {:#x} in its file) is not made of pages",
                                                      name_of(region), region.user_address, region.file_offset));
    if (!ends_in_range(region.guest_address, region.bytes) || !ends_in_range(region.user_address, region.bytes) ||
        !ends_in_range(region.file_offset, region.bytes))
        return base::fail(VMRPC_POISONED, name_of(region) + " goes beyond 64 bits");
    return {};
}

base::Status check(std::span<const MemoryRegion> regions) {
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < regions.size(); ++i) {
        const MemoryRegion& one = regions[i];
        VMRPC_TRY(check(one));
        total += one.bytes;
        for (const MemoryRegion& other : regions.first(i))
            if (overlap(one.guest_address, one.bytes, other.guest_address, other.bytes) ||
                overlap(one.user_address, one.bytes, other.user_address, other.bytes))
                return base::fail(VMRPC_POISONED, name_of(one) + " overlaps " + name_of(other));
    }
    if (total > GuestMemory::kMaxBytes)
        return base::fail(VMRPC_POISONED,
                          fmt::format("the guest's memory has {} bytes, more than {}", total, GuestMemory::kMaxBytes));
    return {};
}

// Touching the mapping must not wait for another program: no pages of a FUSE or network file system.
base::Status check_file(const MemoryRegion& region, int file, std::uint64_t& page_bytes) {
    struct stat status {};
    struct statfs system {};
    if (::fstat(file, &status) != 0 || !S_ISREG(status.st_mode) || ::fstatfs(file, &system) != 0 ||
        system.f_type == FUSE_SUPER_MAGIC || system.f_type == NFS_SUPER_MAGIC)
        return base::fail(VMRPC_POISONED, name_of(region) + " came with a descriptor that is not a local file's");
    if (static_cast<std::uint64_t>(status.st_size) < region.file_offset + region.bytes)
        return base::fail(VMRPC_POISONED, fmt::format("{} lies beyond the end of its file: {} bytes from {:#x}",
                                                      name_of(region), status.st_size, region.file_offset));
    page_bytes =
        system.f_type == HUGETLBFS_MAGIC ? static_cast<std::uint64_t>(system.f_bsize) : GuestMemory::kAlignment;
    return {};
}

}  // namespace

base::Result<std::unique_ptr<GuestMemory>> GuestMemory::map(std::span<const MemoryRegion> regions,
                                                            std::span<const notify::GuardedFd> files) {
    VMRPC_TRY(check(regions));
    std::unique_ptr<GuestMemory> memory(new GuestMemory());
    for (std::size_t i = 0; i < regions.size(); ++i) VMRPC_TRY(memory->add(regions[i], files[i].get()));
    return memory;
}

base::Status GuestMemory::add(const MemoryRegion& region, int file) {
    std::uint64_t page_bytes = kAlignment;
    VMRPC_TRY(check_file(region, file, page_bytes));
    const std::uint64_t before = region.file_offset % page_bytes;
    const std::uint64_t bytes = (before + region.bytes + page_bytes - 1) / page_bytes * page_bytes;
    // The lock keeps a fork from falling between mmap and MADV_DONTFORK.
    const std::lock_guard lock(fork_lock(notify::ForkLock::kMappings));
    void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file,
                          static_cast<off_t>(region.file_offset - before));
    if (mapped == MAP_FAILED) return base::fail_errno("cannot map " + name_of(region), errno);
    auto* const base = static_cast<std::byte*>(mapped);
    regions_.push_back({.region = region, .base = base + before, .mapped = base, .mapped_bytes = bytes});
    if (::madvise(mapped, bytes, MADV_DONTFORK) != 0 || ::madvise(mapped, bytes, MADV_DONTDUMP) != 0)
        return base::fail_errno("cannot map " + name_of(region), errno);
    return {};
}

GuestMemory::~GuestMemory() {
    if (generation_ != notify::process_generation()) return;  // a forked child: not mapped here
    for (const Mapped& mapped : regions_) ::munmap(mapped.mapped, mapped.mapped_bytes);
}

std::byte* GuestMemory::at_guest(std::uint64_t address, std::uint64_t bytes) const {
    for (const Mapped& mapped : regions_)
        if (layout::holds({mapped.region.guest_address, mapped.region.bytes}, address, bytes))
            return mapped.base + (address - mapped.region.guest_address);
    return nullptr;
}

std::byte* GuestMemory::at_user(std::uint64_t address, std::uint64_t bytes) const {
    for (const Mapped& mapped : regions_)
        if (layout::holds({mapped.region.user_address, mapped.region.bytes}, address, bytes))
            return mapped.base + (address - mapped.region.user_address);
    return nullptr;
}

}  // namespace vmrpc::transport::vm::vsock
