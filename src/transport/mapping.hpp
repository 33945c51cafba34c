// Segments in this process: sealed memory, and its mapping.
#pragma once

#include "base/fd.hpp"
#include "base/result.hpp"
#include "layout/plan.hpp"
#include "notify/fork_guard.hpp"
#include "transport/address_space.hpp"
#include "transport/huge_pages.hpp"
#include "transport/preparation.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>

namespace vmrpc::transport {

/// Segments start at multiples of this, so that the kernel can use large pages.
inline constexpr std::uint64_t kMappingAlignment = std::uint64_t{2} * 1024 * 1024;

/// Zeroed memory of exactly `bytes` that nobody can shrink, grow or unseal. Pages are taken as they are touched.
/// Those of the pool are taken when the memory is first mapped, all at once: afterwards touching it cannot fail.
/// Transparent ones take advise_transparent() on what is to be made of them, once it is mapped.
/// Errors: VMRPC_OUT_OF_RESOURCES, VMRPC_NOT_SUPPORTED (the system has no such pages).
base::Result<notify::GuardedFd> make_segment_memory(std::uint64_t bytes,
                                                    vmrpc_huge_pages pages = VMRPC_HUGE_PAGES_NONE);

/// Advises the system on a region's heap, if it is to be made of transparent huge pages. Errors: VMRPC_NOT_SUPPORTED.
base::Status advise_on_heap(std::byte* segment, const layout::RegionPlan& plan);

/// What Preparation asks for. Errors: those of the two below.
base::Status prepare_memory(std::byte* base, std::uint64_t bytes, const Preparation& how);
/// Makes the pages of a mapped range present in this process, so that touching them does not enter the system. Blocks
/// while it clears them. Errors: VMRPC_OUT_OF_RESOURCES, VMRPC_NOT_SUPPORTED (a kernel before 5.14).
base::Status prefault_memory(std::byte* base, std::uint64_t bytes);
/// Keeps the pages of a mapped range in memory from when they are there. Errors: VMRPC_OUT_OF_RESOURCES, naming
/// RLIMIT_MEMLOCK.
base::Status lock_memory(std::byte* base, std::uint64_t bytes);

/// Whether a descriptor that came from a peer is such memory. Memory that could shrink would let the peer raise SIGBUS
/// in this process. Errors: VMRPC_POISONED.
base::Status check_segment_memory(int descriptor, std::uint64_t bytes);

/// A segment mapped for reading and writing, for as long as the object lives. Not in core dumps; not in forked
/// children, where the object may only be destroyed. Shared by all that use the segment in this process: when both
/// ends of a connection are in one process they have one mapping. Threads: any.
class Mapping {
  public:
    /// Which memory it is. The uuid alone would let a server point a client at another connection's memory.
    struct Identity {
        layout::Uuid uuid{};
        std::uint64_t device = 0;
        std::uint64_t inode = 0;
        std::uint64_t offset = 0;
        friend auto operator<=>(const Identity&, const Identity&) = default;
    };

    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    /// Unmaps.
    ~Mapping();

    /// Maps at `address`. Errors: VMRPC_OUT_OF_RESOURCES if something is there already or memory is short,
    /// VMRPC_BAD_ARGUMENT for an address that is not aligned, VMRPC_NOT_PERMITTED.
    static base::Result<std::shared_ptr<Mapping>> at(std::uint64_t address, base::FilePlace memory, std::uint64_t bytes,
                                                     const layout::Uuid& uuid);
    /// Maps in a slot that is free here and in `theirs`. Errors as at(); VMRPC_OUT_OF_RESOURCES if there is none.
    static base::Result<std::shared_ptr<Mapping>> at_common_slot(const SlotMap& theirs, base::FilePlace memory,
                                                                 std::uint64_t bytes, const layout::Uuid& uuid);
    /// Maps where the kernel likes, aligned. Errors: VMRPC_OUT_OF_RESOURCES, VMRPC_NOT_PERMITTED.
    static base::Result<std::shared_ptr<Mapping>> anywhere(base::FilePlace memory, std::uint64_t bytes,
                                                           const layout::Uuid& uuid);
    /// The mapping of that memory that this process has already, or null.
    static std::shared_ptr<Mapping> existing(base::FilePlace memory, const layout::Uuid& uuid);

    [[nodiscard]] std::byte* base() const { return base_; }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
    [[nodiscard]] std::uint64_t address() const { return reinterpret_cast<std::uint64_t>(base_); }

  private:
    Mapping(std::byte* base, std::uint64_t bytes, const Identity& identity);
    /// at(), for a caller that holds ForkLock::kMappings.
    static base::Result<std::shared_ptr<Mapping>> at_locked(void* base, base::FilePlace memory, std::uint64_t bytes,
                                                            const layout::Uuid& uuid);
    static base::Result<std::shared_ptr<Mapping>> at_aligned_gap(base::FilePlace memory, std::uint64_t bytes,
                                                                 const layout::Uuid& uuid);

    std::byte* base_;
    std::uint64_t bytes_;
    Identity identity_;
    std::uint32_t generation_;
};

/// Maps a segment that a server offers, which has it at `server_address`: there, if both wish it and it is free here;
/// else elsewhere, and never there if they do not. Errors as Mapping::anywhere().
base::Result<std::shared_ptr<Mapping>> map_offered(base::FilePlace memory, std::uint64_t bytes,
                                                   const layout::Uuid& uuid, std::uint64_t server_address,
                                                   bool equal_addresses);

}  // namespace vmrpc::transport
