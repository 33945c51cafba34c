// A guest's RAM, as far as QEMU shares it, mapped into this process.
//
// What is left of the danger of mapping somebody else's file: who shortens it later (QEMU seals its own memfds against
// that, files in /dev/shm or on a disk it cannot), and huge pages that the pool has not got, raise SIGBUS here when the
// bytes that are gone are touched. So QEMU is trusted with that, and the guest, which cannot do it, is not trusted at
// all.
#pragma once

#include "base/result.hpp"
#include "notify/fork_guard.hpp"
#include "transport/vm/vsock/vhost_messages.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace vmrpc::transport::vm::vsock {

/// Threads: constant once it is made.
class GuestMemory {
  public:
    static constexpr std::uint64_t kMaxBytes = std::uint64_t{16} << 40;  // of all regions together
    static constexpr std::uint64_t kAlignment = 4096;

    /// Maps region i from file i, after all have been checked; forked children do not have them, nor do core dumps. The
    /// files are not needed afterwards. Does not block (but for the system's own work).
    /// Errors: VMRPC_POISONED (regions that overlap, are unaligned, empty or too large, or lie outside their files;
    /// files that are not memory), VMRPC_OUT_OF_RESOURCES.
    static base::Result<std::unique_ptr<GuestMemory>> map(std::span<const MemoryRegion> regions,
                                                          std::span<const notify::GuardedFd> files);
    GuestMemory(const GuestMemory&) = delete;
    GuestMemory& operator=(const GuestMemory&) = delete;
    ~GuestMemory();

    /// Where these bytes are here; null unless one region has them all. By the guest's physical address.
    [[nodiscard]] std::byte* at_guest(std::uint64_t address, std::uint64_t bytes) const;
    /// The same by QEMU's own address.
    [[nodiscard]] std::byte* at_user(std::uint64_t address, std::uint64_t bytes) const;

  private:
    struct Mapped {
        MemoryRegion region;
        std::byte* base = nullptr;    // of the region
        std::byte* mapped = nullptr;  // of the mapping, which may begin before it
        std::uint64_t mapped_bytes = 0;
    };

    GuestMemory() = default;
    base::Status add(const MemoryRegion& region, int file);

    std::vector<Mapped> regions_;
    std::uint32_t generation_ = notify::process_generation();
};

}  // namespace vmrpc::transport::vm::vsock
