#include "vmrpc/doctor/checks.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <unistd.h>

#include <cstdlib>

namespace tool {
namespace {

struct ModuleGroup {
    const char* what;  // they are for
    std::vector<std::string> names;
    bool is_wanted;
    Level without;
};

const char* word_of(ModuleState state) {
    if (state == ModuleState::kLoaded) return "loaded";
    return state == ModuleState::kAvailable ? "available" : "missing";
}

Finding look_at_modules(const Machine& machine, const ModuleGroup& group) {
    std::string found;
    std::string to_load;
    std::string lacking;
    for (const std::string& name : group.names) {
        const ModuleState state = machine.module_state(name);
        found += fmt::format("{}{} {}", found.empty() ? "" : ", ", name, word_of(state));
        if (state == ModuleState::kAvailable) to_load += " " + name;
        if (state == ModuleState::kMissing) lacking += " " + name;
    }
    const std::string topic = fmt::format("modules, {}", group.what);
    if (!group.is_wanted) return {Level::kOk, topic, found + " (the VM has no device for them)", {}};
    if (!lacking.empty())
        return {group.without, topic, found,
                fmt::format("this kernel lacks{}: take one that has them, as Debian's linux-image-amd64 and "
                            "-cloud-amd64 do",
                            lacking)};
    if (to_load.empty()) return {Level::kOk, topic, found, {}};
    return {group.without, topic, found,
            fmt::format("as root: `modprobe -a{}`; at each boot by their names in /etc/modules-load.d/vmrpc.conf",
                        to_load)};
}

bool is_amd(const Machine& machine) {
    const std::string vendor = machine.value("/proc/cpuinfo", "vendor_id");
    return vendor == "AuthenticAMD" || vendor == "HygonGenuine";
}

}  // namespace

void check_modules(const Machine& machine, const GuestDevices& devices, Findings& findings) {
    const bool has_memory = !devices.dax.empty() || devices.has_virtio_pmem || devices.has_nvdimm;
    std::vector<std::string> memory{"nd_pmem", "dax_pmem", "device_dax"};
    if (devices.has_virtio_pmem || !devices.has_nvdimm) memory.insert(memory.begin(), "virtio_pmem");
    if (devices.has_nvdimm) memory.insert(memory.begin(), "nfit");
    const std::vector<ModuleGroup> groups{
        {"memory", memory, has_memory, devices.dax.empty() ? Level::kError : Level::kWarning},
        {"doorbell", {"vfio-pci", "vfio_iommu_type1"}, !devices.ivshmem.empty(), Level::kWarning},
        {"vsock", {"vmw_vsock_virtio_transport"}, devices.has_vsock, Level::kError},
        {"ports", {"virtio_console"}, devices.has_virtio_serial, Level::kWarning}};
    for (const ModuleGroup& group : groups) findings.add(look_at_modules(machine, group));
}

void check_caching(const Machine& machine, const GuestDevices& devices, Findings& findings) {
    if (!devices.dax.empty()) findings.ok("caching", "DAX memory is mapped write-back");
    if (!devices.dax.empty() || devices.ivshmem.empty()) return;
    const std::string vendor = machine.value("/proc/cpuinfo", "vendor_id");
    if (is_amd(machine))
        findings.warning("caching",
                         vendor +
                             ": KVM on such hosts leaves the memory of ivshmem uncached, and slow (under emulation "
                             "it makes no difference)",
                         "memory=dax: a device that `vmrpc qemu-args` prints by default");
    else
        findings.ok("caching",
                    fmt::format("{}: KVM keeps the memory of ivshmem write-back", vendor.empty() ? "CPU" : vendor));
}

void check_iommu_and_vsock(const Machine& machine, const GuestDevices& devices, Findings& findings) {
    const std::size_t groups = machine.list("/sys/kernel/iommu_groups").size();
    if (groups > 0)
        findings.ok("vIOMMU", fmt::format("{} groups", groups));
    else if (devices.ivshmem.empty())
        findings.ok("vIOMMU", "none, and no doorbell that needs it");
    else
        findings.warning("vIOMMU", "none: no interrupts through the doorbell",
                         "give the VM -M q35 and -device intel-iommu,intremap=on before its other devices; the kernel "
                         "may need intel_iommu=on");
    if (!devices.has_vsock)
        findings.ok("vsock", "no device; ring=vsock alone needs it");
    else if (machine.exists("/dev/vsock"))
        findings.ok("vsock", "a device, and /dev/vsock");
    else
        findings.error("vsock", "a device, but no /dev/vsock", "as root: `modprobe vmw_vsock_virtio_transport`");
}

void check_ports(const Machine& machine, const GuestDevices& devices, Findings& findings) {
    if (devices.ports.empty()) {
        findings.ok("ports", "none of ours; ring=serial alone needs them");
        return;
    }
    std::string refused;
    for (const std::string& name : devices.ports)
        if (!machine.may_use("/dev/" + name)) refused += fmt::format("{}/dev/{}", refused.empty() ? "" : ", ", name);
    if (refused.empty())
        findings.ok("ports", fmt::format("{}, for as many processes", fmt::join(devices.ports, ", ")));
    else
        findings.error("ports", fmt::format("{}, which user {} may not open", refused, ::geteuid()), kBecomeMember);
}

void check_ram(const Machine& machine, const GuestDevices& devices, Findings& findings) {
    constexpr unsigned long long cap_sys_admin = 1ULL << 21;
    const std::string text = machine.value("/proc/self/status", "CapEff");
    const unsigned long long capabilities = std::strtoull(text.c_str(), nullptr, 16);
    if ((capabilities & cap_sys_admin) != 0)
        findings.ok("memory", "this user's own: CAP_SYS_ADMIN, to know where its pages are");
    else
        findings.error(
            "memory", fmt::format("user {} has no CAP_SYS_ADMIN, which memory=ram needs", ::geteuid()),
            "run the program as root, give it the capability (AmbientCapabilities=CAP_SYS_ADMIN CAP_IPC_LOCK "
            "of a systemd service), or take memory=dax");
    if (machine.number("/proc/sys/kernel/io_uring_disabled").value_or(0) == 2)
        findings.error("io_uring", "the kernel lets nobody use it; memory=ram keeps its pages in place by it",
                       "`sysctl kernel.io_uring_disabled=0`");
    if (!devices.has_vsock) findings.error("stream", "no vsock device, which memory=ram needs", kGiveOne);
}

}  // namespace tool
