// The block that makes a guest's stock kernel show shared memory as /dev/daxN.M, mapped write-back, with nothing to
// configure in the guest.
//
// It is the kernel's own struct nd_pfn_sb (drivers/nvdimm/pfn.h), 4 KiB at offset 4096 of the memory that a virtio-pmem
// or nvdimm device has, with the signature of a device-DAX namespace and a Fletcher sum over itself (nd_fletcher64 in
// drivers/nvdimm/core.c). The kernel reads it when it finds the device: so it is there before the VM is.
#pragma once

#include "base/result.hpp"
#include "layout/plan.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace vmrpc::transport::vm {

inline constexpr std::uint64_t kInfoBlockOffset = 4096;
inline constexpr std::size_t kInfoBlockBytes = 4096;
/// Where the memory begins that the guest's /dev/dax shows: a multiple of the largest page that maps it.
inline constexpr std::uint64_t kDaxDataOffset = std::uint64_t{2} * 1024 * 1024;

using InfoBlock = std::array<std::byte, kInfoBlockBytes>;

/// What a block says that matters here.
struct DaxMemory {
    layout::Uuid uuid{};           // the guest finds it in /sys/bus/nd/devices/daxN.M/uuid
    std::uint64_t data_bytes = 0;  // from kDaxDataOffset on
};

/// The block for such memory. Requires whole pages of 4 KiB.
[[nodiscard]] InfoBlock make_info_block(const DaxMemory& memory);

/// Checks a block that lies in memory of `file_bytes`. Errors: VMRPC_NOT_VMRPC, saying what differs.
base::Result<DaxMemory> read_info_block(const InfoBlock& bytes, std::uint64_t file_bytes);

}  // namespace vmrpc::transport::vm
