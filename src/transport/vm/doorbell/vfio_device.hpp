// An ivshmem device in the hands of this process, through VFIO: its registers, its memory and its interrupts. A group
// of devices can be open in one process only, so that is the broker (tools/doorbell), which hands out what it holds.
#pragma once

#include "base/result.hpp"
#include "notify/fork_guard.hpp"
#include "transport/vm/doorbell/vfio_binding.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace vmrpc::transport::vm {

/// A region of the device, as an offset into its VFIO descriptor.
struct VfioRegion {
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
};

struct VfioDevice {
    notify::GuardedFd container;
    notify::GuardedFd group;
    notify::GuardedFd device;
    VfioRegion registers;                       // BAR 0
    VfioRegion memory;                          // BAR 2
    std::vector<notify::GuardedFd> interrupts;  // an eventfd for each MSI-X vector, non-blocking
};

/// Binds the device at a PCI address to vfio-pci if it is not, opens it, lets it answer to memory accesses and send
/// interrupts, and has each of its MSI-X vectors signal an eventfd. Errors: those of bind_to_vfio, and
///   VMRPC_NOT_SUPPORTED     modules that are not loaded; a group with devices of other drivers; no interrupt
///                           remapping; no MSI-X vectors, or fewer than the device has
///   VMRPC_NOT_PERMITTED     this user may not open /dev/vfio/N
///   VMRPC_ADDRESS_IN_USE    another process has the group open
///   VMRPC_OUT_OF_RESOURCES
base::Result<VfioDevice> open_vfio_device(const std::string& address, const VfioPlaces& places = {});

}  // namespace vmrpc::transport::vm
