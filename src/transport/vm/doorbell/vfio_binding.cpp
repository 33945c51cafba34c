#include "transport/vm/doorbell/vfio_binding.hpp"

#include "base/fd.hpp"
#include "transport/vm/doorbell/broker_protocol.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <vector>

namespace vmrpc::transport::vm {
namespace {

constexpr const char* kDriver = "vfio-pci";

bool exists(const std::string& path) {
    return ::access(path.c_str(), F_OK) == 0;
}

base::Status check_kind(const std::string& address, const std::string& folder) {
    if (!is_pci_address(address))
        return base::fail(VMRPC_BAD_ADDRESS, fmt::format("{}: is no PCI address as 0000:00:05.0 is", address));
    if (!exists(folder))
        return base::fail(VMRPC_NO_SERVER, fmt::format("{}: there is no such PCI device: see lspci", address));
    if (first_line(folder + "/vendor") == "0x1af4" && first_line(folder + "/device") == "0x1110") return {};
    return base::fail(VMRPC_NOT_VMRPC, fmt::format("{}: is no ivshmem device (1af4:1110): see lspci", address));
}

base::Status check_modules(const std::string& address, const VfioPlaces& places) {
    const auto missing = missing_vfio_modules(places);
    if (missing.empty()) return {};
    return base::fail(VMRPC_NOT_SUPPORTED, fmt::format("{0}: interrupts need kernel modules that are not loaded, {1}: "
                                                       "as root, modprobe -a {1}; for every boot, name them in "
                                                       "/etc/modules-load.d/vmrpc.conf",
                                                       address, fmt::join(missing, " ")));
}

base::Status write_to(const std::string& path, const std::string& text, const std::string& address) {
    const base::Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (file.valid() && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size())) return {};
    const int error = errno;
    if (error == EACCES || error == EPERM)
        return base::fail(VMRPC_NOT_PERMITTED,
                          fmt::format("{0}: has not the driver {1}, and user {2} may not change that: as root, echo "
                                      "{1} >/sys/bus/pci/devices/{0}/driver_override && echo {0} "
                                      ">/sys/bus/pci/drivers_probe",
                                      address, kDriver, ::geteuid()));
    return base::fail(VMRPC_NOT_SUPPORTED, fmt::format("{}: cannot give the device to {}: {}: {}", address, kDriver,
                                                       path, std::generic_category().message(error)));
}

base::Status rebind(const std::string& address, const VfioPlaces& places) {
    const std::string folder = places.device(address);
    VMRPC_TRY(write_to(folder + "/driver_override", kDriver, address));
    if (exists(folder + "/driver")) VMRPC_TRY(write_to(folder + "/driver/unbind", address, address));
    VMRPC_TRY(write_to(places.sysfs + "/bus/pci/drivers_probe", address, address));
    if (link_name(folder + "/driver") == kDriver) return {};
    return base::fail(
        VMRPC_NOT_SUPPORTED,
        fmt::format("{}: {} did not take the device: the kernel's log (dmesg) says why", address, kDriver));
}

}  // namespace

std::string first_line(const std::string& path) {
    const base::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::array<char, 256> text{};
    const ssize_t got = file.valid() ? ::read(file.get(), text.data(), text.size()) : 0;
    const std::string whole(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
    return whole.substr(0, whole.find('\n'));
}

std::vector<std::string> missing_vfio_modules(const VfioPlaces& places) {
    std::vector<std::string> missing;
    if (!exists(fmt::format("{}/bus/pci/drivers/{}", places.sysfs, kDriver))) missing.emplace_back(kDriver);
    if (!exists(places.sysfs + "/module/vfio_iommu_type1")) missing.emplace_back("vfio_iommu_type1");
    return missing;
}

base::Result<std::string> bind_to_vfio(const std::string& address, const VfioPlaces& places) {
    const std::string folder = places.device(address);
    VMRPC_TRY(check_kind(address, folder));
    const std::string group = link_name(folder + "/iommu_group");
    if (group.empty())
        return base::fail(VMRPC_NOT_SUPPORTED,
                          fmt::format("{}: the device is in no IOMMU group, which interrupts need: give the VM -device "
                                      "intel-iommu,intremap=on first, before its other devices, and its kernel "
                                      "intel_iommu=on",
                                      address));
    VMRPC_TRY(check_modules(address, places));
    if (link_name(folder + "/driver") != kDriver) VMRPC_TRY(rebind(address, places));
    return group;
}

}  // namespace vmrpc::transport::vm
