#include "vmrpc/vm/qemu_args.hpp"

#include "transport/vm/protocol.hpp"
#include "transport/vm/waiting_qemu.hpp"
#include "vmrpc/failure.hpp"

#include <fmt/format.h>

#include <string_view>

namespace tool {
namespace {

using vmrpc::transport::vm::kWaitingSuffix;

/// QEMU reads ',' as the end of a value; doubled it stands for itself.
std::string doubled(const std::string& value) {
    std::string result;
    for (const char c : value) result.append(c == ',' ? 2 : 1, c);
    return result;
}

/// A chardev by which QEMU arrives at the service's socket, or waits for the service at its own.
std::string socket_chardev(const VmSetup& setup, const char* what, const std::string& path) {
    return fmt::format("socket,id=vmrpc-{}-{},path={}{}", setup.name, what, doubled(path),
                       setup.waits ? ",server=on,wait=on" : "");
}

class Words {
  public:
    void add(std::string option, std::string value) {
        words_.push_back(std::move(option));
        words_.push_back(std::move(value));
    }
    std::vector<std::string> take() { return std::move(words_); }

  private:
    std::vector<std::string> words_;
};

void add_ram(Words& words, const VmSetup& setup) {
    if (!setup.ram_bytes) return;
    const std::uint64_t ram_mib = *setup.ram_bytes / kMib;
    words.add("-m", setup.memory == VmMemory::kDax
                        ? fmt::format("{}M,slots=2,maxmem={}M", ram_mib, ram_mib + setup.room_mib())
                        : fmt::format("{}M", ram_mib));
    if (!setup.needs_shared_ram()) return;
    const std::string backend = setup.memory == VmMemory::kRam
                                    ? fmt::format("memory-backend-file,mem-path={}", doubled(setup.ram_path))
                                    : std::string("memory-backend-memfd");
    words.add("-object", fmt::format("{},id=vmrpc-{}-ram,size={}M,share=on", backend, setup.name, ram_mib));
    words.add("-machine", fmt::format("memory-backend=vmrpc-{}-ram", setup.name));
}

void add_memory(Words& words, const VmSetup& setup) {
    if (setup.memory != VmMemory::kDax) return;
    const bool is_nvdimm = setup.device == DaxDevice::kNvdimm;
    if (is_nvdimm) words.add("-machine", "nvdimm=on");
    words.add("-object", fmt::format("memory-backend-file,id=vmrpc-{},size={},mem-path={},share=on", setup.name,
                                     setup.file_bytes, doubled(setup.memory_path)));
    words.add("-device", fmt::format("{},memdev=vmrpc-{},id=vmrpc-{}-memory", is_nvdimm ? "nvdimm" : "virtio-pmem-pci",
                                     setup.name, setup.name));
}

void add_doorbell(Words& words, const VmSetup& setup) {
    if (!setup.has_doorbell()) return;
    words.add("-chardev", socket_chardev(setup, "bell", setup.doorbell_path()));
    words.add("-device", fmt::format("ivshmem-doorbell,chardev=vmrpc-{}-bell,vectors={}", setup.name, setup.vectors()));
}

void add_vsock(Words& words, const VmSetup& setup) {
    if (setup.ring != VmRing::kVsock) return;
    if (setup.vsock_by == VsockBy::kService) {
        const std::string path = setup.path_of("vsock") + (setup.waits ? kWaitingSuffix : "");
        words.add("-chardev", socket_chardev(setup, "vsock", path));
        words.add("-device", fmt::format("vhost-user-vsock-pci,chardev=vmrpc-{}-vsock", setup.name));
        return;
    }
    if (!setup.cid) throw Failure("ring=vsock: give the VM a number that no other VM of this host has, as in --cid 7");
    words.add("-device", fmt::format("vhost-vsock-pci,guest-cid={}", *setup.cid));
}

// A port for each process, all of them to one socket. reconnect: the service may come later, or anew.
void add_serial(Words& words, const VmSetup& setup) {
    if (setup.ring != VmRing::kSerial) return;
    // Port 0 of the device is a console's alone.
    words.add("-device",
              fmt::format("virtio-serial-pci,id=vmrpc-{}-serial,max_ports={}", setup.name, setup.processes + 1));
    for (unsigned i = 0; i < setup.processes; ++i) {
        const std::string port = fmt::format("vmrpc-{}-port{}", setup.name, i);
        words.add("-chardev", fmt::format("socket,id={},path={},reconnect=1", port, doubled(setup.path_of("serial"))));
        words.add("-device", fmt::format("virtserialport,bus=vmrpc-{}-serial.0,chardev={},name={}{}", setup.name, port,
                                         vmrpc::transport::vm::kPortPrefix, i));
    }
}

// The service learns of the VM's end by the end of this connection; reconnect: a service that is started later, or
// anew, finds the VM by it, which QEMU's other devices do not offer.
void add_life_line(Words& words, const VmSetup& setup) {
    if (setup.memory == VmMemory::kBar) return;
    words.add("-chardev",
              fmt::format("socket,id=vmrpc-{}-life,path={},reconnect=1", setup.name, doubled(setup.path_of("poll"))));
}

bool is_left_alone(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c < 0 ||
           std::string_view("/._-,=+:@%").find(c) != std::string_view::npos;
}

}  // namespace

std::vector<std::string> qemu_args(const VmSetup& setup) {
    Words words;
    add_ram(words, setup);
    add_memory(words, setup);
    add_doorbell(words, setup);
    add_vsock(words, setup);
    add_serial(words, setup);
    add_life_line(words, setup);
    return words.take();
}

std::vector<std::string> qemu_needs(const VmSetup& setup) {
    std::vector<std::string> needs{
        "-M q35; under emulation (no KVM) -smp N,maxcpus=M with M at least 2, and -accel "
        "tcg,thread=multi"};
    if (setup.memory == VmMemory::kDax && !setup.ram_bytes)
        needs.push_back(fmt::format("-m RAM,slots=2,maxmem=RAM+{}M at least (--ram 4G prints it)", setup.room_mib()));
    if (setup.needs_shared_ram() && !setup.ram_bytes)
        needs.emplace_back(
            "RAM that the service can map, as vhost-user needs it: -object memory-backend-memfd,id=ram,"
            "size=RAM,share=on -machine memory-backend=ram (--ram 4G prints it)");
    if (setup.has_doorbell())
        needs.emplace_back(
            "for interrupts into the guest -device intel-iommu,intremap=on before these (with KVM: -accel "
            "kvm,kernel-irqchip=split); without it the guest rings, but looks for replies");
    if (setup.needs_service())
        needs.emplace_back(setup.waits ? "QEMU starts, and goes no further until the service runs"
                                       : "the service runs before QEMU starts (or else --wait)");
    if (setup.memory == VmMemory::kRam) {
        needs.emplace_back("-M q35 and no other machine: only its layout of RAM is known");
        needs.emplace_back("in the guest programs with CAP_SYS_ADMIN and CAP_IPC_LOCK, as root has them");
        needs.push_back(
            fmt::format("when the VM has ended, rm {}: it holds what the guest had in its RAM", setup.ram_path));
    }
    needs.emplace_back("in the guest, once: `vmrpc doctor` says what is missing");
    return needs;
}

std::string as_shell_lines(const std::vector<std::string>& words) {
    std::string lines;
    for (std::size_t i = 0; i < words.size(); ++i) {
        for (const char c : words[i])
            if (!is_left_alone(c))
                throw Failure(
                    fmt::format("{} has the character '{}', which a shell does not leave alone: choose another "
                                "folder, or take the words from --json",
                                words[i], c));
        lines += words[i] + (i % 2 == 0 ? ' ' : '\n');
    }
    return lines;
}

Report as_json(const VmSetup& setup) {
    Report json{{"name", setup.name},
                {"folder", setup.folder},
                {"memory", name_of(setup.memory)},
                {"ring", name_of(setup.ring)},
                {"processes", setup.processes}};
    if (setup.memory == VmMemory::kDax)
        json["file"] = {{"path", setup.memory_path},
                        {"bytes", setup.file_bytes},
                        {"segment_bytes", setup.segment_bytes},
                        {"uuid", setup.uuid},
                        {"made", setup.was_made}};
    if (setup.memory == VmMemory::kRam)
        json["file"] = {{"path", setup.ram_path}, {"bytes", *setup.ram_bytes}, {"made", setup.was_made}};
    json["args"] = qemu_args(setup);
    json["needs"] = qemu_needs(setup);
    return json;
}

}  // namespace tool
