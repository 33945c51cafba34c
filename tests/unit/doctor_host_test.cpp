// What `vmrpc doctor` finds on a host, but for a service's folder.
#include "doctor_machine.hpp"
#include "vmrpc/failure.hpp"

namespace tool {
namespace {

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

}  // namespace
}  // namespace tool
