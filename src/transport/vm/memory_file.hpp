// The memory of a VM as a file of the host, FOLDER/NAME.mem: QEMU gives it to the guest as a virtio-pmem or nvdimm
// device, the service maps it.
//
//     0         nothing                           (the kernel's label of a namespace would be here)
//     4096      the info block: what the guest's kernel needs (info_block.hpp)
//     2 MiB     the segment: /dev/daxN.M in the guest
#pragma once

#include "base/fd.hpp"
#include "base/result.hpp"
#include "layout/plan.hpp"
#include "notify/fork_guard.hpp"

#include <cstdint>
#include <string>

namespace vmrpc::transport::vm {

inline constexpr const char* kMemorySuffix = ".mem";
inline constexpr std::uint64_t kMinSegmentBytes = std::uint64_t{16} * 1024 * 1024;

/// A VM's memory, opened for reading and writing: a file on the host, a device in the guest.
struct MemoryFile {
    notify::GuardedFd file;
    std::uint64_t segment_offset = 0;
    std::uint64_t segment_bytes = 0;
    layout::Uuid uuid{};
    [[nodiscard]] base::FilePlace segment() const { return {file.get(), segment_offset}; }
};

/// Makes the file, sparse, with its info block and an empty segment of `segment_bytes` (rounded up to 2 MiB), readable
/// and writable as `mode` says. It appears whole, or not at all. Errors: VMRPC_ADDRESS_IN_USE (there is one),
/// VMRPC_BAD_ARGUMENT (below kMinSegmentBytes), VMRPC_NOT_PERMITTED, VMRPC_OUT_OF_RESOURCES.
base::Status make_memory_file(const std::string& path, std::uint64_t segment_bytes, unsigned mode = 0660);

/// Opens one, and checks that it is one. Errors: VMRPC_NO_SERVER (there is none), VMRPC_NOT_VMRPC (no regular file, no
/// info block, a size that it does not fit), VMRPC_NOT_PERMITTED.
base::Result<MemoryFile> open_memory_file(const std::string& path);

}  // namespace vmrpc::transport::vm
