#include "vmrpc/doctor/checks.hpp"

#include <fmt/format.h>

#include <unistd.h>

namespace tool {
namespace {

constexpr const char* kPciFolder = "/sys/bus/pci/devices/";

Finding look_at_vfio(const Machine& machine, const std::string& address, const std::string& what) {
    const std::string group = "/dev/vfio/" + machine.link_name(kPciFolder + address + "/iommu_group");
    if (!machine.exists(group))
        return {Level::kError, "doorbell", fmt::format("{}, but no {}", what, group), "`modprobe vfio_iommu_type1`"};
    if (!machine.may_use(group) || !machine.may_use("/dev/vfio/vfio"))
        return {Level::kError, "doorbell", fmt::format("{}, whose {} user {} may not open", what, group, ::geteuid()),
                kBecomeMember};
    return {Level::kOk, "doorbell", fmt::format("{}, through {}: rings, and is rung by interrupts", what, group), {}};
}

Finding look_at_resources(const Machine& machine, const std::string& address, const std::string& what) {
    const std::string folder = kPciFolder + address;
    if (!machine.exists(folder + "/resource2"))
        return {Level::kError, "doorbell", what + ", with no memory of its own",
                "it was not given as ivshmem-doorbell, or its service was not there"};
    if (!machine.may_use(folder + "/resource0") || !machine.may_use(folder + "/resource2"))
        return {Level::kError, "doorbell",
                fmt::format("{}, whose resource0 and resource2 user {} may not open", what, ::geteuid()),
                kBecomeMember};
    if (machine.line(folder + "/enable") == "0" && !machine.may_use(folder + "/enable"))
        return {Level::kError, "doorbell", what + ", which is not enabled",
                fmt::format("as root: `echo 1 >{}/enable`; the udev rule does so at each boot", folder)};
    const bool has_iommu = machine.exists(folder + "/iommu_group");
    return {Level::kWarning, "doorbell", what + ", through sysfs: rings, but looks for what comes back",
            has_iommu ? fmt::format("for interrupts, as root: `modprobe -a vfio-pci vfio_iommu_type1; echo vfio-pci "
                                    ">{0}/driver_override; echo {1} >/sys/bus/pci/drivers_probe`; the udev rule does "
                                    "so at each boot",
                                    folder, address)
                      : "for interrupts give the VM -device intel-iommu,intremap=on, before its other devices"};
}

Finding look_at_ivshmem(const Machine& machine, const std::string& address) {
    const std::string driver = machine.link_name(kPciFolder + address + "/driver");
    const std::string what = fmt::format("ivshmem {}, {}", address, driver.empty() ? "no driver" : "driver " + driver);
    if (driver == "vfio-pci") return look_at_vfio(machine, address, what);
    if (!driver.empty())
        return {Level::kError, "doorbell", what + ": not ours",
                fmt::format("as root: `echo {} >/sys/bus/pci/drivers/{}/unbind`, and keep that driver from loading",
                            address, driver)};
    return look_at_resources(machine, address, what);
}

}  // namespace

void check_ivshmem(const Machine& machine, const GuestDevices& devices, Findings& findings) {
    for (const std::string& address : devices.ivshmem) findings.add(look_at_ivshmem(machine, address));
    if (!devices.ivshmem.empty()) return;
    if (devices.has_vsock)
        findings.ok("doorbell", "none: ring=vsock");
    else if (!devices.ports.empty())
        findings.ok("doorbell", "none: ring=serial");
    else
        findings.warning("doorbell", "none: with ring=poll, the only one without it, both sides look for calls",
                         kGiveOne);
}

}  // namespace tool
