#include "vm_options.hpp"

#include <CLI/CLI.hpp>

#include <map>

namespace vmrpc::vm {
namespace {

constexpr char kDescription[] =
    R"(vmrpc-vm [OPTIONS] PROGRAM [ARG]... [';' PROGRAM [ARG]...]...

Boots a virtual machine with Debian's cloud kernel and a root file system made of the programs given, runs them, shows
their output as it comes, and ends as they did. Nothing is left behind, however this ends. A PROGRAM that is a file
here is put into the guest at the same path, with its libraries. ';' separates commands that run one after another
until one fails; after '&' instead the next one starts at once. The kernel comes from tests/vm/fetch_kernel.sh.)";

constexpr char kFooter[] = R"(
Exit status: that of the first command that failed, 128 + N if signal N killed it, 0 if none did. If they did not end:
123 the guest panicked or powered off, 124 the limit passed, 125 something needed is missing or the command line is
wrong, 126 QEMU failed, 127 QEMU is not installed, 137 QEMU was killed. The last line on standard error says which.)";

[[noreturn]] void reject(const std::string& what) {
    throw CLI::ValidationError(what);
}

// "left<separator>right"; right is empty where there is no separator.
std::pair<std::string, std::string> split(const std::string& text, char separator) {
    const auto at = text.find(separator);
    if (at == std::string::npos) return {text, ""};
    return {text.substr(0, at), text.substr(at + 1)};
}

std::size_t size_value(std::string text) {
    CLI::AsSizeValue{false}(text);
    return std::stoull(text);
}

void add_file(GuestOptions& guest, const std::string& value) {
    const auto [host_path, guest_path] = split(value, '=');
    guest.files.push_back({host_path, guest_path});
}

void add_doorbell(GuestOptions& guest, const std::string& value) {
    const auto [socket, vectors] = split(value, ',');
    guest.doorbells.push_back({socket, vectors.empty() ? 1 : static_cast<unsigned>(size_value(vectors))});
}

void add_memory(GuestOptions& guest, const std::string& value) {
    const auto [file, bytes] = split(value, ',');
    if (bytes.empty()) reject("--shared wants FILE,BYTES, not '" + value + "'");
    guest.memories.push_back({file, size_value(bytes)});
}

void add_pmem(GuestOptions& guest, const std::string& value) {
    const auto [file, bytes] = split(value, ',');
    if (bytes.empty()) reject("--pmem wants FILE,BYTES, not '" + value + "'");
    guest.pmem.push_back({file, size_value(bytes)});
}

void add_port(GuestOptions& guest, const std::string& value) {
    const auto [name, backend] = split(value, '=');
    if (backend.empty()) reject("--port wants NAME=BACKEND, not '" + value + "'");
    guest.ports.push_back({name, backend});
}

void add_environment(GuestOptions& guest, const std::string& value) {
    guest.environment.push_back(value);
}
void add_module(GuestOptions& guest, const std::string& value) {
    guest.modules.push_back(value);
}
void add_bulk(GuestOptions& guest, const std::string& value) {
    add_port(guest, "bulk=file,path=" + value);
}
void add_kernel_arg(GuestOptions& guest, const std::string& value) {
    guest.kernel_args += " " + value;
}
void add_qmp(GuestOptions& guest, const std::string& value) {
    guest.qemu_args.insert(guest.qemu_args.end(), {"-qmp", "unix:" + value + ",server=on,wait=off"});
}
void add_qemu_arg(GuestOptions& guest, const std::string& value) {
    guest.qemu_args.push_back(value);
}

struct ListOption {
    const char* name;
    const char* value;
    void (*add)(GuestOptions&, const std::string&);
    const char* help;
};

// These may be given several times.
constexpr ListOption kListOptions[] = {
    {"--file", "PATH[=GUEST_PATH]", add_file,
     "a file (a program with its libraries) or a folder, by default at the same path"},
    {"--env", "NAME=VALUE", add_environment, "a variable for the programs"},
    {"--module", "\"NAME [P=V]...\"", add_module, "a kernel module, loaded after those it depends on"},
    {"--doorbell", "SOCKET[,VECTORS]", add_doorbell, "an ivshmem device whose server listens on SOCKET"},
    {"--shared", "FILE,BYTES", add_memory, "an ivshmem device that is only memory (64M, 1G)"},
    {"--pmem", "FILE,BYTES", add_pmem,
     "a virtio-pmem device: /dev/dax* if FILE has a device-DAX info block, else /dev/pmem*"},
    {"--port", "NAME=BACKEND", add_port,
     "/dev/virtio-ports/NAME, with BACKEND as after QEMU's -chardev: file,path=OUT"},
    {"--bulk", "FILE", add_bulk, "short for --port bulk=file,path=FILE, for output too large for the console"},
    {"--kernel-arg", "TEXT", add_kernel_arg, "appended to the kernel's command line"},
    {"--qmp", "SOCKET", add_qmp, "where QEMU listens for commands (QMP)"},
    {"--qemu-arg", "TEXT", add_qemu_arg, "appended to QEMU's; --qemu-arg=-device --qemu-arg=edu"},
};

void describe_contents(CLI::App& app, GuestOptions& guest) {
    for (const auto& option : kListOptions)
        app.add_option_function<std::string>(
               option.name, [&guest, add = option.add](const std::string& value) { add(guest, value); }, option.help)
            ->type_name(option.value)
            ->trigger_on_parse()
            ->allow_extra_args(false);
}

void describe_machine(CLI::App& app, GuestOptions& guest) {
    const std::map<std::string, Accelerator> accelerators{
        {"best", Accelerator::kBest}, {"kvm", Accelerator::kKvm}, {"tcg", Accelerator::kTcg}};
    app.add_option("--memory", guest.memory_mib, "memory")
        ->type_name("MIB")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    app.add_option("--cpus", guest.cpus, "processors; one more is always possible, as emulation needs")
        ->type_name("N")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    app.add_option("--accel", guest.accelerator, "best (KVM where it is usable), kvm or tcg")
        ->type_name("WHICH")
        ->transform(CLI::Transformer(accelerators));
    auto* network = app.add_flag("--network", guest.network, "eth0 is 10.0.2.15, the host's loopback is 10.0.2.2");
    app.add_option("--tap", guest.tap, "A TAP device of this host that eth0 is connected to instead")->needs(network);
    app.add_flag("--iommu", guest.iommu, "an IOMMU, as vfio-pci needs");
    app.add_flag("--reboot", guest.reboot, "run the commands again after a reset or a panic, with VMRPC_BOOT=2, …");
    app.add_option("--hotplug-ports", guest.hotplug_ports, "places for QMP's device_add: bus=hotplug0, …")
        ->type_name("N");
    app.add_option("--hotplug-memory", guest.hotplug_memory_mib, "room for memory devices there")->type_name("MIB");
    app.add_option("--kernel", guest.kernel_folder, "another folder with vmlinux and modules/")->type_name("FOLDER");
}

void describe_run(CLI::App& app, ProgramOptions& options) {
    app.add_option_function<double>(
           "--limit",
           [&](double seconds) { options.guest.limit = std::chrono::milliseconds{static_cast<long>(seconds * 1000)}; },
           "when the guest is ended (60)")
        ->type_name("SECONDS")
        ->check(CLI::Range(0.001, 1e6));
    app.add_flag("--keep-going", options.guest.keep_going, "run the next command also after one that failed");
    app.add_flag("--quiet", options.quiet, "do not say which accelerator is used and how the guest ended");
}

std::vector<Command> split_commands(const std::vector<std::string>& words) {
    std::vector<Command> commands;
    Command command;
    const auto end_command = [&](bool background) {
        if (command.args.empty()) return;
        command.background = background;
        commands.push_back(std::exchange(command, {}));
    };
    for (const auto& word : words) {
        if (word == ";" || word == "&")
            end_command(word == "&");
        else
            command.args.push_back(word);
    }
    end_command(false);
    if (commands.empty()) reject("no program to run");
    return commands;
}

}  // namespace

std::optional<ProgramOptions> parse_command_line(int argc, char** argv, int& exit_code) {
    ProgramOptions options;
    CLI::App app{kDescription, "vmrpc-vm"};
    app.footer(kFooter);
    app.prefix_command();
    describe_contents(app, options.guest);
    describe_machine(app, options.guest);
    describe_run(app, options);
    try {
        app.parse(argc, argv);
        options.guest.commands = split_commands(app.remaining());
        return options;
    } catch (const CLI::ParseError& error) {
        exit_code = app.exit(error) == 0 ? 0 : 125;
        return std::nullopt;
    }
}

}  // namespace vmrpc::vm
