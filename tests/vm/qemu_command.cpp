#include "qemu_command.hpp"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

namespace vmrpc::vm {
namespace {

constexpr std::size_t kPmemAlignmentMib = 1024;  // each such device may begin at a multiple of it

// Hardware virtualization is asked for as well as the device: a /dev/kvm without it exists (KVM_PVM) and runs only
// kernels made for it; a stock kernel never starts there.
bool cpu_virtualizes() {
    std::ifstream in{"/proc/cpuinfo"};
    for (std::string line; std::getline(in, line);) {
        if (!line.starts_with("flags")) continue;
        std::istringstream words{line};
        for (std::string word; words >> word;)
            if (word == "vmx" || word == "svm") return true;
        return false;
    }
    return false;
}

// Empty if a virtual machine can be made, else the reason why not.
std::string why_no_kvm() {
    const int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0) return std::string{"/dev/kvm: "} + std::strerror(errno);
    const int machine = ioctl(kvm, KVM_CREATE_VM, 0UL);
    const int error = errno;
    close(kvm);
    if (machine < 0) return std::string{"/dev/kvm makes no machine: "} + std::strerror(error);
    close(machine);
    return cpu_virtualizes() ? "" : "/dev/kvm is there, but the processor shows neither vmx nor svm";
}

// Boots faster and says only what matters. A panic ends QEMU (-no-reboot), or boots again, instead of waiting for
// somebody to read it.
std::string kernel_command_line(const GuestOptions& options, bool kvm) {
    std::string text = "console=ttyS0 quiet panic=-1 cryptomgr.notests rcupdate.rcu_expedited=1 no_timer_check";
    if (!kvm) text += " mitigations=off";  // guards against neighbours on a processor that is not there
    if (options.iommu) text += " intel_iommu=on";
    return options.kernel_args.empty() ? text : text + " " + options.kernel_args;
}

// QEMU reads ',' as the end of a value; doubled it stands for itself.
std::string escaped(const std::string& value) {
    std::string result;
    for (const char c : value) result.append(c == ',' ? 2 : 1, c);
    return result;
}

class Arguments {
  public:
    explicit Arguments(std::vector<std::string> first) : list_(std::move(first)) {}
    void add(const std::string& option, const std::string& value) {
        list_.push_back(option);
        list_.push_back(value);
    }
    std::vector<std::string> list_;
};

// What can be added while the VM runs needs room in the guest's addresses from the start.
std::string memory_size(const GuestOptions& options) {
    const auto size = std::to_string(options.memory_mib);
    const auto devices = options.pmem.size() + (options.hotplug_memory_mib != 0 ? options.hotplug_ports : 0);
    if (devices == 0) return size;
    std::size_t most_mib = options.memory_mib + options.hotplug_memory_mib + options.hotplug_ports * kPmemAlignmentMib;
    for (const auto& device : options.pmem) most_mib += (device.bytes >> 20) + kPmemAlignmentMib;
    return size + ",slots=" + std::to_string(devices) + ",maxmem=" + std::to_string(most_mib) + "M";
}

// Never `-smp 1` alone: QEMU's emulation then takes atomics for those of a machine with one processor and loses updates
// that the host makes to shared memory. A possible second processor prevents that.
void add_machine(Arguments& args, const GuestOptions& options, bool kvm) {
    args.add("-machine", "q35");
    args.add("-accel", !kvm ? "tcg,thread=multi" : options.iommu ? "kvm,kernel-irqchip=split" : "kvm");
    args.add("-cpu", "max");
    args.add("-smp", std::to_string(options.cpus) + ",maxcpus=" + std::to_string(std::max(options.cpus, 2U)));
    args.add("-m", memory_size(options));
    if (options.iommu) args.add("-device", "intel-iommu,intremap=on");  // before the devices behind it
}

void add_channels(Arguments& args) {
    args.add("-chardev", "stdio,id=console,signal=off");
    args.add("-serial", "chardev:console");
    args.add("-chardev", "file,id=report,path=/proc/self/fd/" + std::to_string(kReportFd));
    args.add("-device", "isa-debugcon,chardev=report,iobase=" + std::to_string(kReportPort));
    args.add("-chardev", "socket,id=control,fd=" + std::to_string(kControlFd));
    args.add("-mon", "chardev=control,mode=control");
    args.add("-device", "isa-debug-exit,iosize=4,iobase=" + std::to_string(kExitPort));
}

// The root of a PCI Express machine takes no device while it runs, these do.
void add_hotplug_ports(Arguments& args, const GuestOptions& options) {
    for (unsigned i = 0; i < options.hotplug_ports; ++i) {
        const auto number = std::to_string(i);
        args.add("-device", "pcie-root-port,id=hotplug" + number + ",chassis=" + std::to_string(i + 1) +
                                ",slot=" + number + ",pref64-reserve=4G");
    }
}

std::string file_backend(const std::string& id, const std::string& path, std::size_t bytes) {
    return "memory-backend-file,share=on,id=" + id + ",size=" + std::to_string(bytes) + ",mem-path=" + escaped(path);
}

void add_ivshmem(Arguments& args, const GuestOptions& options) {
    for (std::size_t i = 0; i < options.doorbells.size(); ++i) {
        const auto id = "doorbell" + std::to_string(i);
        args.add("-chardev", "socket,id=" + id + ",path=" + escaped(options.doorbells[i].socket));
        args.add("-device",
                 "ivshmem-doorbell,chardev=" + id + ",vectors=" + std::to_string(options.doorbells[i].vectors));
    }
    for (std::size_t i = 0; i < options.memories.size(); ++i) {
        const auto id = "memory" + std::to_string(i);
        args.add("-object", file_backend(id, options.memories[i].path, options.memories[i].bytes));
        args.add("-device", "ivshmem-plain,memdev=" + id);
    }
}

void add_virtio(Arguments& args, const GuestOptions& options) {
    for (std::size_t i = 0; i < options.pmem.size(); ++i) {
        const auto id = "pmem" + std::to_string(i);
        args.add("-object", file_backend(id, options.pmem[i].path, options.pmem[i].bytes));
        args.add("-device", "virtio-pmem-pci,memdev=" + id);
    }
    if (options.network) {
        args.add("-netdev", options.tap.empty() ? "user,id=net0"
                                                : "tap,id=net0,script=no,downscript=no,ifname=" + escaped(options.tap));
        args.add("-device", "virtio-net-pci,netdev=net0,romfile=");  // no boot ROM: it is in a package of its own
    }
    if (!options.ports.empty()) args.add("-device", "virtio-serial-pci");
    for (std::size_t i = 0; i < options.ports.size(); ++i) {
        const auto id = "port" + std::to_string(i);
        const auto& [name, backend] = options.ports[i];
        const auto comma = std::min(backend.find(','), backend.size());
        args.add("-chardev", backend.substr(0, comma) + ",id=" + id + backend.substr(comma));
        args.add("-device", "virtserialport,chardev=" + id + ",name=" + escaped(name));
    }
}

}  // namespace

AcceleratorChoice choose_accelerator(Accelerator wanted) {
    if (wanted == Accelerator::kTcg) return {false, "emulation (TCG), as asked for"};
    if (wanted == Accelerator::kKvm) return {true, "KVM, as asked for"};
    const auto reason = why_no_kvm();
    if (reason.empty()) return {true, "KVM"};
    return {false, "emulation (TCG), as KVM is not usable (" + reason + ")"};
}

std::string find_program(const std::string& name) {
    if (name.find('/') != std::string::npos) return access(name.c_str(), X_OK) == 0 ? name : "";
    const char* path = std::getenv("PATH");
    std::istringstream folders{path != nullptr ? path : ""};
    for (std::string folder; std::getline(folders, folder, ':');) {
        const auto candidate = (folder.empty() ? "." : folder) + "/" + name;
        if (access(candidate.c_str(), X_OK) == 0) return candidate;
    }
    return {};
}

std::vector<std::string> qemu_command(const std::string& program, const std::filesystem::path& kernel,
                                      const GuestOptions& options, const AcceleratorChoice& accelerator) {
    Arguments args{{program, "-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"}};
    if (!options.reboot) args.list_.emplace_back("-no-reboot");
    add_machine(args, options, accelerator.kvm);
    args.add("-kernel", kernel.string());
    args.add("-initrd", "/proc/self/fd/" + std::to_string(kInitramfsFd));
    args.add("-append", kernel_command_line(options, accelerator.kvm));
    add_channels(args);
    add_hotplug_ports(args, options);
    add_ivshmem(args, options);
    add_virtio(args, options);
    args.list_.insert(args.list_.end(), options.qemu_args.begin(), options.qemu_args.end());
    return std::move(args.list_);
}

}  // namespace vmrpc::vm
