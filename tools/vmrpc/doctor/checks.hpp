// What `vmrpc doctor` looks at, in the order in which it says so.
#pragma once

#include "vmrpc/doctor/findings.hpp"
#include "vmrpc/doctor/machine.hpp"
#include "vmrpc/vm/address.hpp"

#include <optional>
#include <string>
#include <vector>

namespace tool {

// Remedies that several of them give.
inline constexpr const char* kGiveOne = "on the host, `vmrpc qemu-args` prints the arguments that give a VM one";
inline constexpr const char* kBecomeMember =
    "`usermod -aG vmrpc USER`, then log in anew; if the group is not vmrpc, lib/udev/rules.d/60-vmrpc.rules is not "
    "installed, or was read before there was the group: install it, then `systemctl restart systemd-udevd && udevadm "
    "trigger --action=add` as root";

// In a guest.

/// What of ours a VM was given; the rest of the checks go by it.
struct GuestDevices {
    std::vector<std::string> dax;      // names: dax0.0
    std::vector<std::string> ivshmem;  // PCI addresses
    std::vector<std::string> ports;    // virtio-serial's that are ours: vport1p1
    bool has_virtio_pmem = false;
    bool has_nvdimm = false;
    bool has_vsock = false;
    bool has_virtio_serial = false;  // a device for ports, of whatever names
    /// Only a VM has these. (A machine that is none may have a DAX device, or an NVDIMM.)
    [[nodiscard]] bool tell_a_guest() const { return !ivshmem.empty() || has_virtio_pmem; }
    [[nodiscard]] bool any() const { return tell_a_guest() || !dax.empty() || has_nvdimm; }
};
[[nodiscard]] GuestDevices find_guest_devices(const Machine& machine);

/// Where the memory is, and whether a service has made a segment there.
void check_dax(const Machine& machine, const GuestDevices& devices, Findings& findings);
/// The device that rings, and whether it can be rung.
void check_ivshmem(const Machine& machine, const GuestDevices& devices, Findings& findings);
void check_modules(const Machine& machine, const GuestDevices& devices, Findings& findings);
void check_caching(const Machine& machine, const GuestDevices& devices, Findings& findings);
/// The vIOMMU, without which the guest cannot be interrupted, and vsock.
void check_iommu_and_vsock(const Machine& machine, const GuestDevices& devices, Findings& findings);
/// The virtio-serial ports by which processes may be rung.
void check_ports(const Machine& machine, const GuestDevices& devices, Findings& findings);
/// Whether this user's processes may lend their own memory: for addresses that ask for it.
void check_ram(const Machine& machine, const GuestDevices& devices, Findings& findings);
/// The device that a guest's address names.
void check_named_device(const std::string& name, const GuestDevices& devices, Findings& findings);

// On a host.

void check_kvm(const Machine& machine, Findings& findings);
/// Runs QEMU to ask it for its version.
void check_qemu(Findings& findings);
void check_host_vsock(const Machine& machine, Findings& findings);
void check_huge_pages(const Machine& machine, Findings& findings);
void check_limits(const Machine& machine, Findings& findings);
void check_shared_memory_space(const Machine& machine, Findings& findings);
/// The service's folder: it, its VMs' files, its sockets.
void check_folder(const Machine& machine, const VmAddress& address, Findings& findings);

// On both.

/// Looks for the program as a program of the same folder would.
void check_sentinel(Findings& findings);

/// Bytes, as people write them: "66 MiB".
[[nodiscard]] std::string size_text(unsigned long long bytes);

}  // namespace tool
