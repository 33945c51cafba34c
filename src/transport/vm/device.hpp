// The guest's device, as sysfs shows it.
#pragma once

#include "base/result.hpp"
#include "notify/fork_guard.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace vmrpc::transport::vm {

/// Where devices are listed, unless VMRPC_PCI_DEVICES_FOR_TESTS names another folder.
inline constexpr const char* kPciDevices = "/sys/bus/pci/devices";

/// An ivshmem device, opened.
struct Device {
    std::string address;          // "0000:00:05.0"
    notify::GuardedFd memory;     // resource2
    notify::GuardedFd registers;  // resource0
    std::uint64_t memory_bytes = 0;
    std::uint64_t registers_offset = 0;  // in resource0's first page
};

/// The PCI addresses of all ivshmem devices, sorted.
std::vector<std::string> ivshmem_devices();
/// Where they are listed.
std::string pci_devices_folder();
/// Whether vfio-pci has this one.
[[nodiscard]] bool is_bound_to_vfio(const std::string& pci_address);

/// Opens the device at a PCI address, or, if that is empty, the only one. Errors:
///   VMRPC_BAD_ADDRESS     not a PCI address; none was named and there are several (the text lists them)
///   VMRPC_NO_SERVER       there is no such device
///   VMRPC_NOT_VMRPC       another kind of device; one without a doorbell
///   VMRPC_NOT_PERMITTED   this user may not open it
base::Result<Device> open_device(const std::string& address);

}  // namespace vmrpc::transport::vm
