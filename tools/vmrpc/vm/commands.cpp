#include "vmrpc/vm/commands.hpp"

#include "vmrpc/vm/libvirt_xml.hpp"
#include "vmrpc/vm/qemu_args.hpp"

#include <cstdio>
#include <map>
#include <memory>
#include <string>

namespace tool {
namespace {

struct Wishes : VmWishes {
    bool json = false;
};

void print_qemu_args(const Wishes& wishes) {
    const VmSetup setup = settle(wishes);
    const std::string text = wishes.json ? as_json(setup).dump(2) + '\n' : as_shell_lines(qemu_args(setup));
    std::fwrite(text.data(), 1, text.size(), stdout);
    if (wishes.json) return;
    if (setup.memory == VmMemory::kDax)
        std::fprintf(stderr, "vmrpc: %s %s: a segment of %llu bytes\n", setup.was_made ? "made" : "kept",
                     setup.memory_path.c_str(), static_cast<unsigned long long>(setup.segment_bytes));
    if (setup.memory == VmMemory::kRam)
        std::fprintf(stderr, "vmrpc: %s %s: the VM's RAM, %llu bytes\n", setup.was_made ? "made" : "kept",
                     setup.ram_path.c_str(), static_cast<unsigned long long>(*setup.ram_bytes));
    for (const std::string& need : qemu_needs(setup)) std::fprintf(stderr, "vmrpc: needs: %s\n", need.c_str());
}

void print_libvirt_xml(const Wishes& wishes) {
    const std::string text = libvirt_xml(settle(wishes));
    std::fwrite(text.data(), 1, text.size(), stdout);
}

/// Octal, as for chmod.
std::string is_mode(const std::string& text) {
    const bool fits = text.size() >= 3 && text.size() <= 4 && text.find_first_not_of("01234567") == std::string::npos &&
                      (text.size() == 3 || text.front() == '0');
    return fits ? "" : text + " is no mode as chmod takes it: 0660";
}

void add_sizes(CLI::App& command, Wishes& wishes) {
    command.add_option("--size", wishes.segment_bytes, "of the segment that the VM's processes share (1G)")
        ->transform(CLI::AsSizeValue(false));
    command.add_option("--processes", wishes.processes, "of this VM that may be connected at once (4)")
        ->check(CLI::Range(1U, vmrpc::transport::vm::kMostProcesses));
    command.add_option("--ram", wishes.ram_bytes, "the VM's own memory, as in 4G; with memory=ram it is a file")
        ->transform(CLI::AsSizeValue(false));
}

void add_choices(CLI::App& command, Wishes& wishes) {
    const std::map<std::string, DaxDevice> devices{{"virtio-pmem", DaxDevice::kVirtioPmem},
                                                   {"nvdimm", DaxDevice::kNvdimm}};
    const std::map<std::string, VsockBy> servers{{"kernel", VsockBy::kKernel}, {"service", VsockBy::kService}};
    command.add_option("--device", wishes.device, "that carries the memory: virtio-pmem (default) or nvdimm")
        ->type_name("WHICH")
        ->transform(CLI::Transformer(devices));
    command
        .add_option_function<std::string>(
            "--mode",
            [&wishes](const std::string& text) { wishes.mode = static_cast<unsigned>(std::stoul(text, nullptr, 8)); },
            "permissions of the VM's file, if it is made now (0660)")
        ->type_name("OCTAL")
        ->check(is_mode);
    command
        .add_option_function<std::string>(
            "--vsock", [&wishes, servers](const std::string& by) { wishes.vsock_by = servers.at(by); },
            "with ring=vsock: the device of the service (the default), or of the host's kernel, which services do not "
            "answer yet")
        ->type_name("kernel|service")
        ->check(CLI::IsMember({"kernel", "service"}));
    command.add_option("--cid", wishes.cid, "with ring=vsock: the VM's number");
}

using Print = void (*)(const Wishes&);

CLI::App& add(CLI::App& app, const char* name, const char* help, Print print) {
    CLI::App& command = *app.add_subcommand(name, help);
    const auto wishes = std::make_shared<Wishes>();
    command
        .add_option("address", wishes->address,
                    "the service's: vm:FOLDER[?memory=dax|bar|ram&ring=doorbell|vsock|serial|poll]")
        ->required();
    command.add_option("--name", wishes->name, "the VM's, for its files in FOLDER")->required();
    add_sizes(command, *wishes);
    add_choices(command, *wishes);
    if (print == print_qemu_args) {
        command.add_flag("--json", wishes->json, "as JSON, with everything that is known");
        command.add_flag("--wait", wishes->waits, "QEMU may start before the service: it listens, and waits for it");
    }
    command.callback([wishes, print] { print(*wishes); });
    return command;
}

}  // namespace

void add_vm_commands(CLI::App& app) {
    add(app, "qemu-args", "make a VM's memory, and print what QEMU's command line takes", print_qemu_args)
        .footer("An existing file is kept. To give a VM up: end it, then rm FOLDER/NAME.mem, or NAME.ram.");
    add(app, "libvirt-xml", "make a VM's memory, and print what its libvirt domain takes", print_libvirt_xml);
}

}  // namespace tool
