#include "transport/vm/sentinel.hpp"
#include "vmrpc/doctor/checks.hpp"

#include <fmt/format.h>

#include <sys/statvfs.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <memory>

namespace tool {
namespace {

constexpr unsigned long long kLeastFiles = 4096;
constexpr unsigned long long kLeastMaps = 65530;  // the kernel's default
constexpr unsigned kQemuWithPmem = 401;           // 100 × major + minor
constexpr unsigned kQemuWithVhostVsock = 501;

std::string first_line_of(const char* command) {
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command, "re"), &::pclose);
    std::array<char, 256> line{};
    if (pipe == nullptr || std::fgets(line.data(), line.size(), pipe.get()) == nullptr) return "";
    // The rest is read, so that the program does not end by a signal.
    std::array<char, 256> rest{};
    while (std::fgets(rest.data(), rest.size(), pipe.get()) != nullptr) {
    }
    return {line.data(), std::strcspn(line.data(), "\n")};
}

/// The soft and the hard limit, from a line of /proc/self/limits.
struct Limit {
    std::string soft;
    std::string hard;
    [[nodiscard]] bool is_below(unsigned long long least) const {
        return hard != "unlimited" && std::strtoull(hard.c_str(), nullptr, 10) < least;
    }
};

Limit limit_of(const Machine& machine, const std::string& name) {
    const std::string text = machine.text("/proc/self/limits").value_or("");
    const std::size_t at = text.find(name);
    if (at == std::string::npos) return {"?", "unlimited"};
    std::array<char, 32> soft{};
    std::array<char, 32> hard{};
    // NOLINTNEXTLINE(cert-err34-c): words, each bounded
    if (std::sscanf(text.c_str() + at + name.size(), "%31s %31s", soft.data(), hard.data()) != 2)
        return {"?", "unlimited"};
    return {soft.data(), hard.data()};
}

std::string in_brackets(const std::string& words) {
    const std::size_t begin = words.find('[');
    const std::size_t end = words.find(']');
    return begin == std::string::npos || end == std::string::npos ? "not there"
                                                                  : words.substr(begin + 1, end - begin - 1);
}

}  // namespace

void check_kvm(const Machine& machine, Findings& findings) {
    const bool has_flag = machine.has_cpu_flag({"vmx", "svm"});
    if (!machine.exists("/dev/kvm"))
        findings.warning(
            "KVM", fmt::format("no /dev/kvm; the processor {} virtualization", has_flag ? "has" : "shows no"),
            has_flag ? "`modprobe kvm_intel` or `modprobe kvm_amd`"
                     : "switch it on in the firmware, or, where this is a VM, nested virtualization in its "
                       "host; without it VMs are emulated: -accel tcg,thread=multi");
    else if (!has_flag)
        findings.warning("KVM", "/dev/kvm is there, but the processor shows neither vmx nor svm",
                         "VMs are emulated: -accel tcg,thread=multi; else switch on (nested) virtualization");
    else if (!machine.may_use("/dev/kvm"))
        findings.warning("KVM", "/dev/kvm is not for this user",
                         "if this user starts VMs: `usermod -aG kvm USER`, then log in anew");
    else
        findings.ok("KVM", "/dev/kvm, and the processor's support");
}

void check_qemu(Findings& findings) {
    const std::string said = first_line_of("qemu-system-x86_64 --version 2>/dev/null");
    unsigned major = 0;
    unsigned minor = 0;
    // NOLINTNEXTLINE(cert-err34-c): what does not fit is no version either
    if (std::sscanf(said.c_str(), "QEMU emulator version %3u.%3u", &major, &minor) != 2) {
        findings.warning("QEMU", "no qemu-system-x86_64 in PATH",
                         "`apt-get install qemu-system-x86`, unless another VMM runs the VMs");
        return;
    }
    const unsigned version = major * 100 + minor;
    if (version < kQemuWithPmem)
        findings.error("QEMU", said, "virtio-pmem needs 4.1: install a newer one");
    else if (version < kQemuWithVhostVsock)
        findings.warning("QEMU", said,
                         "vhost-user-vsock-pci needs 5.1: install a newer one, or let the host have "
                         "/dev/vhost-vsock");
    else
        findings.ok("QEMU", said);
}

void check_host_vsock(const Machine& machine, Findings& findings) {
    if (machine.exists("/dev/vhost-vsock"))
        findings.ok("vsock", "/dev/vhost-vsock: ring=vsock by the kernel");
    else if (machine.module_state("vhost_vsock") == ModuleState::kAvailable)
        findings.warning("vsock", "no /dev/vhost-vsock, but its module",
                         "`modprobe vhost_vsock`; without it ring=vsock is served by the service, for VMs whose RAM is "
                         "shared");
    else
        findings.ok("vsock", "no /dev/vhost-vsock: ring=vsock is served by the service, for VMs whose RAM is shared");
}

void check_huge_pages(const Machine& machine, Findings& findings) {
    const auto of = [&machine](const char* key) { return machine.value("/proc/meminfo", key); };
    findings.ok("huge pages",
                fmt::format("pool: {} of {} free ({}); transparent for shared memory: {}; wanted only by huge_pages",
                            of("HugePages_Free"), of("HugePages_Total"), of("Hugepagesize"),
                            in_brackets(machine.line("/sys/kernel/mm/transparent_hugepage/shmem_enabled"))));
}

void check_limits(const Machine& machine, Findings& findings) {
    const Limit files = limit_of(machine, "Max open files");
    const std::string found = fmt::format("open files: {}, at most {}", files.soft, files.hard);
    if (files.is_below(kLeastFiles))
        findings.warning("limits", found, "LimitNOFILE=65536 in the service's unit, or a line in limits.conf");
    else
        findings.ok("limits", found);
    const Limit locked = limit_of(machine, "Max locked memory");
    findings.ok("limits", fmt::format("locked memory: {}, at most {}; wanted only by lock", locked.soft, locked.hard));
    const auto maps = machine.number("/proc/sys/vm/max_map_count").value_or(kLeastMaps);
    if (maps < kLeastMaps)
        findings.warning("limits", fmt::format("vm.max_map_count: {}", maps),
                         fmt::format("`sysctl vm.max_map_count={}`", kLeastMaps));
    else
        findings.ok("limits", fmt::format("vm.max_map_count: {}", maps));
}

void check_shared_memory_space(const Machine& machine, Findings& findings) {
    struct statvfs status {};
    if (::statvfs(machine.place("/dev/shm").c_str(), &status) != 0)
        findings.warning("memory", "no /dev/shm", "mount a tmpfs there, or keep the VMs' files on another one");
    else
        findings.ok("memory", fmt::format("/dev/shm has {} free of {}", size_text(status.f_bavail * status.f_frsize),
                                          size_text(status.f_blocks * status.f_frsize)));
}

void check_sentinel(Findings& findings) {
    const auto found = vmrpc::transport::vm::find_sentinel();
    if (found)
        findings.ok("sentinel", *found);
    else
        findings.error("sentinel", "not found", found.error().text);
}

std::string size_text(unsigned long long bytes) {
    constexpr unsigned long long mib = 1ULL << 20;
    constexpr unsigned long long gib = 1ULL << 30;
    if (bytes >= gib && bytes % gib == 0) return fmt::format("{} GiB", bytes / gib);
    if (bytes >= mib) return fmt::format("{} MiB", bytes / mib);
    return fmt::format("{} bytes", bytes);
}

}  // namespace tool
