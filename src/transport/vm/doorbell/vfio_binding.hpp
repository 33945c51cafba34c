// What sysfs says of a PCI device and its IOMMU group, and who drives it.
#pragma once

#include "base/result.hpp"

#include <limits.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

namespace vmrpc::transport::vm {

/// Where the system shows devices; other folders in tests.
struct VfioPlaces {
    std::string sysfs = "/sys";
    std::string vfio = "/dev/vfio";

    [[nodiscard]] std::string device(const std::string& address) const { return sysfs + "/bus/pci/devices/" + address; }
};

/// The last part of what a symbolic link points to; empty if there is none.
inline std::string link_name(const std::string& path) {
    std::array<char, PATH_MAX> target{};
    const ssize_t bytes = ::readlink(path.c_str(), target.data(), target.size());
    if (bytes <= 0) return "";
    const std::string whole(target.data(), static_cast<std::size_t>(bytes));
    return whole.substr(whole.rfind('/') + 1);
}

/// The first line of a small file; empty if it cannot be read.
std::string first_line(const std::string& path);

/// Those of the kernel modules that interrupts need which are not loaded.
std::vector<std::string> missing_vfio_modules(const VfioPlaces& places);

/// Makes sure that vfio-pci drives the ivshmem device at a PCI address, and returns the number of its IOMMU group. A
/// device that has another driver is taken from it; no device but ivshmem is touched. Blocks while drivers come and go.
/// Errors:
///   VMRPC_BAD_ADDRESS     not a PCI address as "0000:00:05.0"
///   VMRPC_NO_SERVER       no such device
///   VMRPC_NOT_VMRPC       another kind of device
///   VMRPC_NOT_SUPPORTED   no IOMMU group; modules that are not loaded; the driver does not take it
///   VMRPC_NOT_PERMITTED   it has another driver or none, and only root may change that
base::Result<std::string> bind_to_vfio(const std::string& address, const VfioPlaces& places);

}  // namespace vmrpc::transport::vm
