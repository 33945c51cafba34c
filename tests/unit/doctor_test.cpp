// Each finding of `vmrpc doctor`, shown by a folder in place of a machine's root.
#include "layout/segment.hpp"
#include "transport/vm/memory_file.hpp"
#include "vmrpc/doctor/checks.hpp"
#include "vmrpc/doctor/diagnosis.hpp"
#include "vmrpc/failure.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace tool {
namespace {

namespace fs = std::filesystem;
namespace layout = vmrpc::layout;
using testing::HasSubstr;

constexpr const char* kPmem = "0000:00:02.0";
constexpr const char* kBell = "0000:00:03.0";

/// Root may everything: what a user may not is shown as another user.
class AsNobody {
  public:
    AsNobody() {
        if (::geteuid() == 0) changed_ = ::setegid(65534) == 0 && ::seteuid(65534) == 0;
    }
    AsNobody(const AsNobody&) = delete;
    AsNobody& operator=(const AsNobody&) = delete;
    ~AsNobody() {
        if (changed_ && (::seteuid(0) != 0 || ::setegid(0) != 0)) std::abort();
    }

  private:
    bool changed_ = false;
};

class Doctor : public testing::Test {
  protected:
    Doctor() : root_("/tmp/vmrpc-test-XXXXXX") {
        EXPECT_NE(::mkdtemp(root_.data()), nullptr);
        ::chmod(root_.c_str(), 0755);
        write("/proc/sys/kernel/osrelease", "6.1.0-test\n");
        write("/proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vmx hypervisor\n");
    }
    ~Doctor() override { fs::remove_all(root_); }

    std::string at(const std::string& path) const { return root_ + path; }
    void write(const std::string& path, const std::string& text = "") const {
        fs::create_directories(fs::path(at(path)).parent_path());
        std::ofstream(at(path)) << text;
    }
    void link(const std::string& path, const std::string& target) const {
        fs::create_directories(fs::path(at(path)).parent_path());
        fs::create_symlink(target, at(path));
    }
    std::string pci(const std::string& address, const std::string& file) const {
        return "/sys/bus/pci/devices/" + address + "/" + file;
    }
    void add_pci(const std::string& address, const std::string& device) const {
        write(pci(address, "vendor"), "0x1af4\n");
        write(pci(address, "device"), device + "\n");
    }
    /// A DAX device whose memory is a file that begins with such a header.
    void add_dax(const layout::SegmentHeader& header, const std::string& name = "dax0.0") const {
        add_pci(kPmem, "0x105b");
        write("/sys/devices/ndbus0/dax0.1/uuid", "11111111-2222\n");
        write("/sys/devices/ndbus0/dax0.1/" + name + "/size", "67108864\n");
        write("/sys/devices/ndbus0/dax0.1/" + name + "/align", "4096\n");
        link("/sys/bus/dax/devices/" + name, at("/sys/devices/ndbus0/dax0.1/" + name));
        std::string bytes(8192, '\0');
        std::memcpy(bytes.data(), &header, sizeof header);
        write("/dev/" + name, bytes);
    }
    static layout::SegmentHeader ours() {
        layout::SegmentHeader header{};
        header.magic = layout::kSegmentMagic;
        header.layout_major = layout::kLayoutMajor;
        header.directory_entries = 4;
        return header;
    }
    /// An ivshmem device without a driver.
    void add_bell() const {
        add_pci(kBell, "0x1110");
        write(pci(kBell, "enable"), "1\n");
        write(pci(kBell, "resource0"));
        write(pci(kBell, "resource2"));
    }
    void add_group(const std::string& driver) const {
        link(pci(kBell, "iommu_group"), "../../../../kernel/iommu_groups/7");
        fs::create_directories(at("/sys/kernel/iommu_groups/7"));
        if (!driver.empty()) link(pci(kBell, "driver"), "../../../../bus/pci/drivers/" + driver);
    }

    Findings guest(const std::string& address = "") const {
        const Diagnosis diagnosis = diagnose(Machine(root_), address, Side::kGuest);
        return diagnosis.findings;
    }
    Findings host(const std::string& address = "") const {
        return diagnose(Machine(root_), address, Side::kHost).findings;
    }
    /// That there is such a line; where it is not ok, with a remedy that has these words.
    static void expect(const Findings& findings, Level level, const std::string& topic, const std::string& found,
                       const std::string& remedy = "") {
        for (const Finding& each : findings.all()) {
            if (each.level != level || each.topic != topic || each.found.find(found) == std::string::npos) continue;
            EXPECT_EQ(each.remedy.empty(), level == Level::kOk) << each.found;
            EXPECT_THAT(each.remedy, HasSubstr(remedy));
            return;
        }
        ADD_FAILURE() << "no line " << topic << ": " << found << " in\n" << findings.text();
    }

    std::string root_;
};

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

TEST_F(Doctor, FindsOutWhereItRuns) {
    const auto side = [this](const std::string& address) { return diagnose(Machine(root_), address, {}).side; };
    EXPECT_EQ(side(""), Side::kGuest) << "the processor says so, no /dev/kvm";
    EXPECT_EQ(side("vm:/run/x"), Side::kHost);
    EXPECT_EQ(side("vm:"), Side::kGuest);
    write("/dev/kvm");
    EXPECT_EQ(side(""), Side::kHost) << "a VM that can have VMs";
    EXPECT_EQ(side("vm:dax0.0"), Side::kGuest);
    write("/sys/bus/dax/devices/dax0.0/size", "1");
    EXPECT_EQ(side(""), Side::kGuest) << "a VM with memory";
    write("/proc/cpuinfo", "flags\t\t: fpu vmx\n");
    EXPECT_EQ(side(""), Side::kHost) << "a machine with memory of its own";
    add_bell();
    EXPECT_EQ(side(""), Side::kGuest) << "a device of ours";
    EXPECT_THROW(static_cast<void>(side("local:/run/x")), Failure);
}

TEST_F(Doctor, Kvm) {
    expect(host(), Level::kWarning, "KVM", "no /dev/kvm; the processor has", "modprobe kvm_intel");
    write("/dev/kvm");
    expect(host(), Level::kOk, "KVM", "support");
    write("/proc/cpuinfo", "flags\t\t: fpu\n");
    expect(host(), Level::kWarning, "KVM", "neither vmx nor svm", "tcg,thread=multi");
    fs::remove(at("/dev/kvm"));
    expect(host(), Level::kWarning, "KVM", "shows no", "firmware");
    write("/proc/cpuinfo", "flags\t\t: fpu svm\n");
    write("/dev/kvm");
    ::chmod(at("/dev/kvm").c_str(), 0);
    const AsNobody nobody;
    expect(host(), Level::kWarning, "KVM", "not for this user", "usermod -aG kvm");
}

TEST_F(Doctor, Qemu) {
    const std::string before = ::getenv("PATH");
    const auto found = [&](const std::string& says) {
        write("/bin/qemu-system-x86_64", "#!/bin/sh\necho '" + says + "'\necho 'Copyright'\n");
        ::chmod(at("/bin/qemu-system-x86_64").c_str(), 0755);
        ::setenv("PATH", at("/bin").c_str(), 1);
        Findings findings;
        check_qemu(findings);
        ::setenv("PATH", before.c_str(), 1);
        return findings;
    };
    expect(found("QEMU emulator version 7.2.22 (Debian)"), Level::kOk, "QEMU", "7.2.22");
    expect(found("QEMU emulator version 5.0.1"), Level::kWarning, "QEMU", "5.0.1", "5.1");
    expect(found("QEMU emulator version 3.1.0"), Level::kError, "QEMU", "3.1.0", "4.1");
    expect(found("something else"), Level::kWarning, "QEMU", "no qemu-system-x86_64", "apt-get install");
}

TEST_F(Doctor, HostVsock) {
    expect(host(), Level::kOk, "vsock", "served by the service");
    write("/lib/modules/6.1.0-test/modules.dep", "kernel/drivers/vhost/vhost_vsock.ko:\n");
    expect(host(), Level::kWarning, "vsock", "but its module", "modprobe vhost_vsock");
    write("/dev/vhost-vsock");
    expect(host(), Level::kOk, "vsock", "by the kernel");
}

TEST_F(Doctor, PagesAndLimits) {
    write("/proc/meminfo", "HugePages_Total:      12\nHugePages_Free:       10\nHugepagesize:       2048 kB\n");
    write("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "always within_size [advise] never deny force\n");
    write("/proc/self/limits",
          "Limit  Soft Limit  Hard Limit  Units\nMax open files  1024  4000  files\n"
          "Max locked memory  65536  unlimited  bytes\n");
    write("/proc/sys/vm/max_map_count", "1000\n");
    fs::create_directories(at("/dev/shm"));
    const Findings findings = host();
    expect(findings, Level::kOk, "huge pages", "pool: 10 of 12 free (2048 kB); transparent for shared memory: advise");
    expect(findings, Level::kWarning, "limits", "open files: 1024, at most 4000", "LimitNOFILE");
    expect(findings, Level::kOk, "limits", "locked memory: 65536, at most unlimited");
    expect(findings, Level::kWarning, "limits", "max_map_count: 1000", "sysctl");
    expect(findings, Level::kOk, "memory", "/dev/shm has");
    write("/proc/self/limits", "Max open files  1024  1048576  files\n");
    write("/proc/sys/vm/max_map_count", "65530\n");
    fs::remove(at("/dev/shm"));
    expect(host(), Level::kOk, "limits", "at most 1048576");
    expect(host(), Level::kOk, "limits", "max_map_count: 65530");
    expect(host(), Level::kWarning, "memory", "no /dev/shm", "tmpfs");
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

TEST_F(Doctor, Sentinel) {
    const char* const before = ::getenv("VMRPC_SENTINEL");
    const std::string kept = before != nullptr ? before : "";
    Findings findings;
    write("/vmrpc-sentinel");
    ::chmod(at("/vmrpc-sentinel").c_str(), 0755);
    ::setenv("VMRPC_SENTINEL", at("/vmrpc-sentinel").c_str(), 1);
    check_sentinel(findings);
    ::setenv("VMRPC_SENTINEL", at("/none").c_str(), 1);
    check_sentinel(findings);
    ::setenv("VMRPC_SENTINEL", kept.c_str(), 1);
    expect(findings, Level::kOk, "sentinel", at("/vmrpc-sentinel"));
    expect(findings, Level::kError, "sentinel", "not found", "VMRPC_SENTINEL");
}

/// A service's folder, with a listening socket where a test wants one.
class DoctorFolder : public Doctor {
  protected:
    DoctorFolder() : folder_(root_ + "/service") { fs::create_directories(folder_); }
    void add_vm(const std::string& name) const {
        const auto made = vmrpc::transport::vm::make_memory_file(folder_ + "/" + name + ".mem", 16 << 20);
        ASSERT_TRUE(made) << made.error().text;
    }
    vmrpc::base::Fd bound(const std::string& name) const {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        (folder_ + "/" + name).copy(address.sun_path, sizeof address.sun_path - 1);
        vmrpc::base::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        return socket;
    }
    Findings here(const std::string& settings = "") const {
        std::stringstream sockets;
        sockets << std::ifstream("/proc/net/unix").rdbuf();
        write("/proc/net/unix", sockets.str());
        return host("vm:" + folder_ + settings);
    }
    std::string folder_;
};

TEST_F(DoctorFolder, NoneAndEmpty) {
    expect(host("vm:" + folder_ + "/none"), Level::kError, "folder", "is no folder", "vmrpc qemu-args");
    const Findings findings = here();
    expect(findings, Level::kOk, "folder", folder_);
    expect(findings, Level::kWarning, "VM", "no NAME.mem", "vmrpc qemu-args");
}

TEST_F(DoctorFolder, Permissions) {
    ::chmod(folder_.c_str(), 0777);
    expect(here(), Level::kWarning, "folder", "anybody may change", "chmod o-w");
    ::chmod(folder_.c_str(), 0555);
    const Machine machine(root_);
    Findings findings;
    {
        const AsNobody nobody;
        check_folder(machine, parse_vm_address("vm:" + folder_), findings);
    }
    expect(findings, Level::kError, "folder", "is not for user", "as the user");
    ::chmod(folder_.c_str(), 0755);
}

TEST_F(DoctorFolder, FilesAndSockets) {
    add_vm("a");
    write("/service/broken.mem", "not a memory file");
    Findings findings = here();
    expect(findings, Level::kOk, "VM", folder_ + "/a.mem: a segment of 16 MiB");
    expect(findings, Level::kError, "VM", "broken.mem", "vmrpc qemu-args");
    expect(findings, Level::kWarning, "socket", "a.doorbell is not there", "start the service");
    const auto socket = bound("a.doorbell");
    expect(here(), Level::kWarning, "socket", "on which nobody listens", "start the service");
    ASSERT_EQ(::listen(socket.get(), 1), 0);
    expect(here(), Level::kOk, "socket", "a.doorbell, on which a service listens");
    expect(here("?ring=poll"), Level::kWarning, "socket", "a.poll is not there", "this ring");
    expect(here("?ring=vsock"), Level::kWarning, "socket", "a.vsock is not there", "this ring");
    write("/service/a.poll", "a file");
    expect(here("?ring=poll"), Level::kError, "socket", "a.poll is no socket", "remove it");
    EXPECT_THAT(here("?memory=bar").text(), HasSubstr("bar.doorbell is not there"));
}

TEST_F(DoctorFolder, RamFiles) {
    expect(here("?memory=ram"), Level::kWarning, "VM", "no NAME.ram", "vmrpc qemu-args");
    write("/service/a.ram", std::string(1 << 20, 'x'));
    write("/service/empty.ram");
    const Findings findings = here("?memory=ram");
    expect(findings, Level::kOk, "VM", folder_ + "/a.ram: a VM's RAM of 1 MiB");
    expect(findings, Level::kError, "VM", "empty.ram", "vmrpc qemu-args");
    expect(findings, Level::kWarning, "socket", "a.vsock is not there", "start the service");
}

TEST_F(DoctorFolder, AFileThatNoRoomIsLeftFor) {
    const auto made = vmrpc::transport::vm::make_memory_file(folder_ + "/huge.mem", std::uint64_t{1} << 42);
    ASSERT_TRUE(made) << made.error().text;
    expect(here(), Level::kWarning, "space", "may take 4194305 MiB more", "SIGBUS");
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
