#include "transport/mapping.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <map>
#include <mutex>

namespace vmrpc::transport {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
constexpr int kTries = 8;

// All mappings of this process. Guarded by ForkLock::kMappings; never destroyed, as static objects may hold links.
std::map<Mapping::Identity, std::weak_ptr<Mapping>>& mappings() {
    static auto& map = *new std::map<Mapping::Identity, std::weak_ptr<Mapping>>();
    return map;
}

base::Result<Mapping::Identity> identify(int memory, const layout::Uuid& uuid) {
    struct stat status {};
    if (::fstat(memory, &status) != 0) return base::fail_errno("cannot look at the segment's memory", errno);
    return Mapping::Identity{uuid, status.st_dev, status.st_ino};
}

}  // namespace

base::Result<notify::GuardedFd> make_segment_memory(std::uint64_t bytes) {
    auto memory = notify::GuardedFd::made_by([] { return ::memfd_create("vmrpc", MFD_CLOEXEC | MFD_ALLOW_SEALING); });
    if (!memory.valid()) return base::fail_errno("cannot make shared memory: memfd_create", errno);
    if (::ftruncate(memory.get(), static_cast<off_t>(bytes)) != 0)
        return base::fail_errno(fmt::format("cannot make shared memory of {} bytes", bytes), errno);
    if (::fcntl(memory.get(), F_ADD_SEALS, kSeals) != 0) return base::fail_errno("cannot seal shared memory", errno);
    return memory;
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

base::Result<std::shared_ptr<Mapping>> Mapping::at_locked(void* base, int memory, std::uint64_t bytes,
                                                          const layout::Uuid& uuid) {
    const auto identity = identify(memory, uuid);
    if (!identity) return tl::unexpected(identity.error());
    void* mapped =
        ::mmap(base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, memory, 0);
    if (mapped == MAP_FAILED && errno == EEXIST)
        return base::fail(VMRPC_OUT_OF_RESOURCES, fmt::format("something else is mapped at {}", base));
    if (mapped == MAP_FAILED)
        return base::fail_errno(fmt::format("cannot map {} bytes of shared memory", bytes), errno);
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

base::Result<std::shared_ptr<Mapping>> Mapping::at(std::uint64_t address, int memory, std::uint64_t bytes,
                                                   const layout::Uuid& uuid) {
    if (address == 0 || address % kMappingAlignment != 0)
        return base::fail(VMRPC_BAD_ARGUMENT, fmt::format("{:#x} is not an address for a segment", address));
    // The lock keeps a fork from falling between mmap and MADV_DONTFORK.
    const std::lock_guard lock(fork_lock(notify::ForkLock::kMappings));
    return at_locked(reinterpret_cast<void*>(address), memory, bytes, uuid);
}

base::Result<std::shared_ptr<Mapping>> Mapping::at_common_slot(const SlotMap& theirs, int memory, std::uint64_t bytes,
                                                               const layout::Uuid& uuid) {
    for (int i = 0; i < kTries; ++i) {
        const auto ours = own_free_slots();
        if (!ours) return tl::unexpected(ours.error());
        const auto address = (*ours & theirs).find(bytes, random_slot());
        if (!address) break;
        if (auto mapping = at(*address, memory, bytes, uuid)) return mapping;
    }
    return base::fail(VMRPC_OUT_OF_RESOURCES,
                      fmt::format("no {} bytes of address space are free on both sides", bytes));
}

base::Result<std::shared_ptr<Mapping>> Mapping::anywhere(int memory, std::uint64_t bytes, const layout::Uuid& uuid) {
    auto mapping = at_aligned_gap(memory, bytes, uuid);
    // Another thread may have taken the gap between finding and using it.
    for (int i = 1; i < kTries && !mapping; ++i) mapping = at_aligned_gap(memory, bytes, uuid);
    return mapping;
}

base::Result<std::shared_ptr<Mapping>> Mapping::at_aligned_gap(int memory, std::uint64_t bytes,
                                                               const layout::Uuid& uuid) {
    const std::uint64_t gap_bytes = bytes + kMappingAlignment;
    void* gap = ::mmap(nullptr, gap_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (gap == MAP_FAILED)
        return base::fail_errno(fmt::format("no room for {} bytes in the address space", bytes), errno);
    ::munmap(gap, gap_bytes);
    const auto begin = reinterpret_cast<std::uint64_t>(gap);
    return at((begin + kMappingAlignment - 1) / kMappingAlignment * kMappingAlignment, memory, bytes, uuid);
}

std::shared_ptr<Mapping> Mapping::existing(int memory, const layout::Uuid& uuid) {
    const auto identity = identify(memory, uuid);
    if (!identity) return nullptr;
    const std::lock_guard lock(fork_lock(notify::ForkLock::kMappings));
    const auto found = mappings().find(*identity);
    return found == mappings().end() ? nullptr : found->second.lock();
}

}  // namespace vmrpc::transport
