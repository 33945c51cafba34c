// What `vmrpc doctor` finds in a guest, and how its findings are shown.
#include "doctor_machine.hpp"

#include <fmt/format.h>

namespace tool {
namespace {

TEST_F(Doctor, AGuestWithNothing) {
    const Findings findings = guest();
    expect(findings, Level::kError, "memory", "neither a DAX device nor ivshmem", "vmrpc qemu-args");
    expect(findings, Level::kWarning, "doorbell", "none", "vmrpc qemu-args");
    expect(findings, Level::kOk, "modules, memory", "no device for them");
    expect(findings, Level::kOk, "vIOMMU", "none");
    expect(findings, Level::kOk, "vsock", "no device");
    EXPECT_TRUE(findings.has_error());
}

TEST_F(Doctor, DaxWithASegment) {
    add_dax(ours());
    const Findings findings = guest("vm:dax0.0");
    expect(findings, Level::kOk, "memory",
           "/dev/dax0.0: 64 MiB, uuid 11111111-2222, with a vmrpc segment for 4 processes");
    expect(findings, Level::kOk, "caching", "write-back");
    expect(guest("vm:dax1.0"), Level::kError, "address", "no device dax1.0", "those below");
}

TEST_F(Doctor, DaxWithoutASegment) {
    add_dax({});
    expect(guest(), Level::kWarning, "memory", "with no vmrpc segment in it", "start the service");
}

TEST_F(Doctor, DaxOfAnotherLayout) {
    layout::SegmentHeader header = ours();
    header.layout_major = layout::kLayoutMajor + 1;
    add_dax(header);
    expect(guest(), Level::kError, "memory", fmt::format("layout {}", layout::kLayoutMajor + 1), "the same version");
}

TEST_F(Doctor, DaxThatIsTooSmallToBeLookedAt) {
    add_dax(ours());
    fs::resize_file(at("/dev/dax0.0"), 100);
    expect(guest(), Level::kError, "memory", "cannot be mapped", "locked down");
}

TEST_F(Doctor, DaxThatThisUserMayNotOpen) {
    add_dax(ours());
    ::chmod(at("/dev/dax0.0").c_str(), 0);
    const AsNobody nobody;
    expect(guest(), Level::kError, "memory", "may not open", "60-vmrpc.rules");
}

TEST_F(Doctor, DaxThatIsRam) {
    add_dax(ours());
    link("/sys/devices/ndbus0/dax0.1/dax0.0/driver", "../../../bus/dax/drivers/kmem");
    expect(guest(), Level::kError, "memory", "as RAM of its own", "daxctl");
}

TEST_F(Doctor, DaxWithoutANode) {
    add_dax(ours());
    fs::remove(at("/dev/dax0.0"));
    expect(guest(), Level::kError, "memory", "without a device node", "device_dax");
}

TEST_F(Doctor, SeveralDax) {
    add_dax(ours(), "dax0.0");
    add_dax(ours(), "dax1.0");
    expect(guest("vm:"), Level::kWarning, "address", "2 DAX devices", "vm:dax0.0");
}

TEST_F(Doctor, MemoryWithoutAnInfoBlock) {
    add_pci(kPmem, "0x105b");
    write("/sys/block/pmem0/size", "1");
    expect(guest(), Level::kError, "memory", "/dev/pmem0: memory without vmrpc's info block", "vmrpc qemu-args");
}

TEST_F(Doctor, MemoryWhoseModulesAreNotLoaded) {
    add_pci(kPmem, "0x105b");
    write("/lib/modules/6.1.0-test/modules.dep",
          "kernel/drivers/nvdimm/virtio_pmem.ko:\nkernel/drivers/nvdimm/nd_pmem.ko.xz:\nkernel/drivers/dax/pmem/"
          "dax_pmem.ko:\n");
    write("/lib/modules/6.1.0-test/modules.builtin", "kernel/drivers/dax/device_dax.ko\n");
    write("/sys/module/nd_pmem/initstate", "live\n");
    const Findings findings = guest();
    expect(findings, Level::kError, "memory", "no /dev/dax", "load the modules below");
    expect(findings, Level::kError, "modules, memory",
           "virtio_pmem available, nd_pmem loaded, dax_pmem available, device_dax loaded",
           "modprobe -a virtio_pmem dax_pmem`");
    write("/lib/modules/6.1.0-test/modules.dep", "");
    expect(guest(), Level::kError, "modules, memory", "virtio_pmem missing", "this kernel lacks virtio_pmem dax_pmem:");
}

TEST_F(Doctor, AnNvdimm) {
    write("/sys/bus/acpi/devices/ACPI0012:00/hid", "ACPI0012\n");
    const Findings findings = guest();
    expect(findings, Level::kError, "memory", "no /dev/dax", "load the modules below");
    expect(findings, Level::kError, "modules, memory", "nfit missing, nd_pmem missing", "lacks nfit nd_pmem");
}

TEST_F(Doctor, ABellWithoutAnIommu) {
    add_bell();
    const Findings findings = guest();
    expect(findings, Level::kOk, "memory", "what ivshmem has (memory=bar)");
    expect(findings, Level::kWarning, "doorbell", "rings, but looks for what comes back", "intel-iommu,intremap=on");
    expect(findings, Level::kWarning, "vIOMMU", "none", "intel-iommu");
    expect(findings, Level::kWarning, "modules, doorbell", "vfio-pci missing", "this kernel lacks");
    expect(findings, Level::kOk, "caching", "GenuineIntel");
    EXPECT_THAT(guest("vm:" + std::string(kBell)).text(), testing::Not(HasSubstr("there is no device")));
}

TEST_F(Doctor, ABellOnAmd) {
    add_bell();
    write("/proc/cpuinfo", "vendor_id\t: AuthenticAMD\n");
    expect(guest(), Level::kWarning, "caching", "uncached", "memory=dax");
    add_dax(ours());
    expect(guest(), Level::kOk, "caching", "write-back");
}

TEST_F(Doctor, ABellThatThisUserMayNotOpen) {
    add_bell();
    ::chmod(at(pci(kBell, "resource2")).c_str(), 0);
    const AsNobody nobody;
    expect(guest(), Level::kError, "doorbell", "resource0 and resource2 user", "usermod -aG vmrpc");
}

TEST_F(Doctor, ABellThatIsNotEnabled) {
    add_bell();
    write(pci(kBell, "enable"), "0\n");
    ::chmod(at(pci(kBell, "enable")).c_str(), 0444);
    ::chmod(at(pci(kBell, "resource0")).c_str(), 0666);
    ::chmod(at(pci(kBell, "resource2")).c_str(), 0666);
    const AsNobody nobody;
    expect(guest(), Level::kError, "doorbell", "not enabled", "echo 1");
}

TEST_F(Doctor, ABellWithoutMemory) {
    add_bell();
    fs::remove(at(pci(kBell, "resource2")));
    expect(guest(), Level::kError, "doorbell", "no memory of its own", "ivshmem-doorbell");
}

TEST_F(Doctor, ABellBehindAnIommuButNotBound) {
    add_bell();
    add_group("");
    expect(guest(), Level::kWarning, "doorbell", "looks for what comes back", "drivers_probe");
    expect(guest(), Level::kOk, "vIOMMU", "1 groups");
}

TEST_F(Doctor, ABellOfVfio) {
    add_bell();
    add_group("vfio-pci");
    expect(guest(), Level::kError, "doorbell", "no /dev/vfio/7", "vfio_iommu_type1");
    write("/dev/vfio/7");
    write("/dev/vfio/vfio");
    expect(guest(), Level::kOk, "doorbell", "rung by interrupts");
    ::chmod(at("/dev/vfio/7").c_str(), 0);
    const AsNobody nobody;
    expect(guest(), Level::kError, "doorbell", "/dev/vfio/7 user", "usermod -aG vmrpc");
}

TEST_F(Doctor, ABellOfAnotherDriver) {
    add_bell();
    add_group("uio_pci_generic");
    expect(guest(), Level::kError, "doorbell", "uio_pci_generic: not ours", "unbind");
}

TEST_F(Doctor, Vsock) {
    add_pci(kBell, "0x1053");
    expect(guest(), Level::kError, "vsock", "no /dev/vsock", "vmw_vsock_virtio_transport");
    expect(guest(), Level::kOk, "doorbell", "ring=vsock");
    write("/dev/vsock");
    expect(guest(), Level::kOk, "vsock", "a device, and /dev/vsock");
}

TEST_F(Doctor, Ports) {
    expect(guest(), Level::kOk, "ports", "none of ours");
    add_pci(kBell, "0x1043");
    write("/sys/class/virtio-ports/vport1p1/name", "org.qemu.guest_agent.0\n");
    expect(guest(), Level::kOk, "ports", "none of ours");
    expect(guest(), Level::kWarning, "modules, ports", "virtio_console missing", "lacks virtio_console");
    for (const std::string name : {"vport2p1", "vport2p2"}) {
        write("/sys/class/virtio-ports/" + name + "/name", "vmrpc." + name.substr(7) + "\n");
        write("/dev/" + name);
    }
    expect(guest(), Level::kOk, "ports", "vport2p1, vport2p2, for as many processes");
    expect(guest(), Level::kOk, "doorbell", "ring=serial");
    ::chmod(at("/dev/vport2p1").c_str(), 0666);
    ::chmod(at("/dev/vport2p2").c_str(), 0);
    const AsNobody nobody;
    expect(guest(), Level::kError, "ports", "/dev/vport2p2, which user", "60-vmrpc.rules");
}

TEST_F(Doctor, LendingMemory) {
    write("/proc/self/status", "Name:\tdoctor\nCapEff:\t0000000000004000\n");
    Findings findings = guest("vm:?memory=ram");
    expect(findings, Level::kError, "memory", "no CAP_SYS_ADMIN", "AmbientCapabilities");
    expect(findings, Level::kError, "stream", "no vsock device", "vmrpc qemu-args");
    write("/proc/self/status", "Name:\tdoctor\nCapEff:\t000001ffffffffff\n");
    write("/proc/sys/kernel/io_uring_disabled", "2\n");
    findings = guest("vm:?memory=ram");
    expect(findings, Level::kOk, "memory", "this user's own");
    expect(findings, Level::kError, "io_uring", "lets nobody use it", "sysctl");
}

TEST(Findings, Shown) {
    Findings findings;
    findings.ok("one", "is well");
    EXPECT_FALSE(findings.has_error());
    findings.warning("the other", "is slow", "wait");
    EXPECT_FALSE(findings.has_error());
    findings.error("third", "is gone", "get it");
    EXPECT_TRUE(findings.has_error());
    EXPECT_EQ(findings.text(),
              "ok       one        is well\n"
              "warning  the other  is slow\n"
              "                    to mend it: wait\n"
              "error    third      is gone\n"
              "                    to mend it: get it\n");
    EXPECT_EQ(findings.json()[1]["level"], "warning");
    EXPECT_EQ(findings.json()[2]["remedy"], "get it");
}

}  // namespace
}  // namespace tool
