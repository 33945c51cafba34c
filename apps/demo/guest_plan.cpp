#include "guest_plan.hpp"

#include "failure.hpp"
#include "files.hpp"
#include "guest_image.hpp"
#include "qemu_command.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <filesystem>

namespace demo {
namespace {

namespace fs = std::filesystem;
namespace vm = vmrpc::vm;

constexpr const char* kModules = "/lib/modules";  // in the guest
constexpr const char* kHostFiles = "/host";       // below which they have their paths
constexpr const char* kProgram = "/vmrpc-demo";
constexpr const char* kSentinel = "/vmrpc-sentinel";
constexpr const char* kDoorbell = "/vmrpc-doorbell";
constexpr const char* kJsonPort = "json";
/// The default: memory of its own kind, which rings and is rung.
constexpr const char* kAddress = "vm:?memory=dax&ring=doorbell";
/// Where in the guest the device is whose memory is its own. The other doorbell is below it.
constexpr const char* kBarSlot = "0x1c";
constexpr const char* kBarDevice = "0000:00:1c.0";
/// What the client's half of a heap holds, which is an eighth of the device's 1 GiB, with room to spare.
constexpr std::uint64_t kMostMegabytes = 100;

/// The files below `folder`, which in the guest is `place`.
void add_files(vm::GuestOptions& guest, const std::vector<FileToRead>& files, const fs::path& folder,
               const fs::path& place) {
    for (const FileToRead& file : files)
        guest.files.push_back({file.path, (place / fs::path(file.path).lexically_relative(folder)).string()});
}

/// These file systems the guest has itself.
bool is_of_the_kernel(const std::string& path) {
    constexpr std::array<std::string_view, 3> roots{"/proc", "/sys", "/dev"};
    return std::any_of(roots.begin(), roots.end(), [&](std::string_view root) {
        return path == root || path.starts_with(std::string(root) + "/");
    });
}

/// Puts the files of this machine that the user named into the guest; returns their paths there.
std::vector<std::string> add_named_files(vm::GuestOptions& guest, const ClientOptions& client) {
    std::vector<std::string> here;
    std::vector<std::string> paths;
    for (const std::string& path : client.paths) {
        paths.push_back(fs::absolute(path).lexically_normal().string());
        if (is_of_the_kernel(paths.back())) continue;
        here.push_back(paths.back());
        paths.back().insert(0, kHostFiles);
    }
    if (!here.empty()) add_files(guest, select_files(here, client.limit_megabytes * 1'000'000), "/", kHostFiles);
    return paths;
}

std::vector<std::string> add_own_files(vm::GuestOptions& guest, const ClientOptions& client) {
    const fs::path modules = vm::kernel_folder(guest) / "modules";
    add_files(guest, select_files({modules.string()}, client.limit_megabytes * 1'000'000), modules, kModules);
    return {kModules, "/proc/kallsyms"};
}

/// The root file system is in memory, at first beside the archive that it comes from, and may take half of it.
unsigned memory_for(const vm::GuestOptions& guest) {
    std::uint64_t bytes = 0;
    std::error_code gone;
    for (const vm::GuestFile& file : guest.files)
        if (const std::uint64_t size = fs::file_size(file.host_path, gone); !gone) bytes += size;
    constexpr std::uint64_t page_bytes = 4096;
    constexpr std::uint64_t kept_for_page = 64;  // by the kernel, of RAM, for each page of a DAX device
    std::uint64_t kept = 0;
    for (const vm::VirtioPmem& device : guest.pmem) kept += device.bytes / page_bytes * kept_for_page;
    return 256 + static_cast<unsigned>((3 * bytes + kept) >> 20U);
}

/// QEMU reads ',' as the end of a value; doubled it stands for itself.
std::string escaped(const std::string& value) {
    std::string result;
    for (const char c : value) result.append(c == ',' ? 2 : 1, c);
    return result;
}

/// All that is tried beside kAddress, in the same guest.
std::vector<std::string> other_addresses() {
    return {fmt::format("vm:{}?memory=bar&ring=doorbell", kBarDevice), "vm:?memory=dax&ring=poll",
            fmt::format("vm:{}?memory=bar&ring=poll", kBarDevice)};
}

/// Memory in a file with a doorbell, and a doorbell with memory of its own, at one server.
void add_devices(vm::GuestOptions& guest, const tool::VmSetup& setup) {
    guest.pmem = {{setup.memory_path, setup.file_bytes}};
    guest.doorbells = {{setup.doorbell_path(), setup.vectors()}};
    guest.qemu_args = {"-chardev", fmt::format("socket,id=bar,path={}/bar.doorbell", escaped(setup.folder)), "-device",
                       fmt::format("ivshmem-doorbell,chardev=bar,vectors={},addr={}", setup.vectors(), kBarSlot)};
    guest.iommu = true;
    guest.modules = {"vfio-pci", "vfio_iommu_type1"};  // by which the guest is interrupted
    guest.files.push_back({VMRPC_DEMO_DOORBELL, kDoorbell});
    guest.environment.push_back(fmt::format("VMRPC_DOORBELL={}", kDoorbell));
}

vm::Command client_command(const ClientOptions& client, const ServerProcess& server, const std::string& run_by,
                           const std::vector<std::string>& paths) {
    vm::Command command{{kProgram, "client", "--guest", run_by, "--address", kAddress, "--echo-tcp",
                         "10.0.2.2:" + server.echo_port(), "--limit-mb", std::to_string(client.limit_megabytes)}};
    for (const std::string& other : other_addresses()) command.args.insert(command.args.end(), {"--other", other});
    if (!client.json_path.empty())
        command.args.insert(command.args.end(), {"--json", fmt::format("/dev/virtio-ports/{}", kJsonPort)});
    command.args.emplace_back("--");
    command.args.insert(command.args.end(), paths.begin(), paths.end());
    return command;
}

}  // namespace

void check_guest(const ClientOptions& client) {
    const vm::GuestOptions defaults;
    if (!client.echo_tcp.empty())
        throw Failure("--echo-tcp is for a client by itself: the demo in a guest has an echo of its own");
    if (client.limit_megabytes > kMostMegabytes)
        throw Failure(fmt::format("--limit-mb: of the guest's files the device holds {} MB, not {}", kMostMegabytes,
                                  client.limit_megabytes));
    if (vm::find_program(defaults.qemu).empty())
        throw Failure(
            fmt::format("no {} in PATH, to boot a guest with: apt-get install qemu-system-x86 (./run demo does "
                        "so), or --local for a client and a server on this machine",
                        defaults.qemu));
    try {
        vm::find_kernel(defaults);
    } catch (const std::exception& missing) {
        throw Failure(fmt::format("{}, or ./run demo, which does so", missing.what()));
    }
}

std::string json_path(const ServerProcess& server) {
    return server.folder() + "/json";
}

vm::GuestOptions plan_guest(const ClientOptions& client, const GuestLimits& limits, const ServerProcess& server,
                            const std::string& run_by) {
    vm::GuestOptions guest;
    const std::vector<std::string> paths =
        client.paths.empty() ? add_own_files(guest, client) : add_named_files(guest, client);
    guest.files.push_back({fs::read_symlink("/proc/self/exe"), kProgram});
    guest.files.push_back({VMRPC_DEMO_SENTINEL, kSentinel});
    guest.environment = {fmt::format("VMRPC_SENTINEL={}", kSentinel)};
    guest.network = true;
    add_devices(guest, server.vm());
    if (!client.json_path.empty()) guest.ports = {{kJsonPort, "file,path=" + escaped(json_path(server))}};
    guest.commands = {client_command(client, server, run_by, paths)};
    guest.kernel_args = "loglevel=1";  // the console is for the results: nothing but a panic may break into them
    guest.memory_mib = memory_for(guest);
    guest.limit = std::chrono::milliseconds(static_cast<std::int64_t>(limits.seconds * 1000));
    return guest;
}

}  // namespace demo
