#include "vmrpc/doctor/diagnosis.hpp"

#include "vmrpc/doctor/checks.hpp"

#include <fmt/format.h>

namespace tool {
namespace {

std::string product(const Machine& machine) {
    const std::string vendor = machine.line("/sys/class/dmi/id/sys_vendor");
    const std::string name = machine.line("/sys/class/dmi/id/product_name");
    return vendor.empty() && name.empty() ? "" : fmt::format(" ({} {})", vendor, name);
}

/// A VM may itself be a host: so it is a guest by what it was given, or because nothing makes it a host.
void find_side(const Machine& machine, const GuestDevices& devices, const std::optional<VmAddress>& address,
               Diagnosis& diagnosis) {
    const bool is_vm = machine.has_cpu_flag({"hypervisor"});
    const bool names_folder = address && !address->folder.empty() && !is_device_name(address->folder);
    diagnosis.side = Side::kHost;
    if (names_folder) {
        diagnosis.why = "the address names a folder";
    } else if (address || devices.tell_a_guest() || (is_vm && devices.any())) {
        diagnosis.side = Side::kGuest;
        diagnosis.why = (address ? "the address is a guest's" : "it has devices for vmrpc") + product(machine);
    } else if (is_vm && !machine.exists("/dev/kvm")) {
        diagnosis.side = Side::kGuest;
        diagnosis.why = "the processor says so, and there is no /dev/kvm" + product(machine);
    } else {
        diagnosis.why = is_vm ? "a VM without devices for vmrpc, but with /dev/kvm" : "it is no VM";
    }
}

void look_at_guest(const Machine& machine, const GuestDevices& devices, const std::optional<VmAddress>& address,
                   Findings& findings) {
    if (address) check_named_device(address->folder, devices, findings);
    if (address && address->memory == VmMemory::kRam)
        check_ram(machine, devices, findings);
    else
        check_dax(machine, devices, findings);
    check_ivshmem(machine, devices, findings);
    check_modules(machine, devices, findings);
    check_caching(machine, devices, findings);
    check_iommu_and_vsock(machine, devices, findings);
    check_ports(machine, devices, findings);
    check_sentinel(findings);
}

void look_at_host(const Machine& machine, const std::optional<VmAddress>& address, Findings& findings) {
    check_kvm(machine, findings);
    check_qemu(findings);
    check_host_vsock(machine, findings);
    check_huge_pages(machine, findings);
    check_limits(machine, findings);
    check_shared_memory_space(machine, findings);
    check_sentinel(findings);
    if (address && !address->folder.empty()) check_folder(machine, *address, findings);
}

}  // namespace

Diagnosis diagnose(const Machine& machine, const std::string& address, std::optional<Side> side) {
    std::optional<VmAddress> parsed;
    if (!address.empty()) parsed = parse_vm_address(address);
    const GuestDevices devices = find_guest_devices(machine);
    Diagnosis diagnosis;
    find_side(machine, devices, parsed, diagnosis);
    if (side) {
        diagnosis.side = *side;
        diagnosis.why = "as asked for";
    }
    if (diagnosis.side == Side::kGuest)
        look_at_guest(machine, devices, parsed, diagnosis.findings);
    else
        look_at_host(machine, parsed, diagnosis.findings);
    return diagnosis;
}

}  // namespace tool
