#include "transport/vm/memory_file.hpp"
#include "transport/vm/ram/ram_file.hpp"
#include "vmrpc/doctor/checks.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <sstream>

namespace tool {
namespace {

namespace fs = std::filesystem;
namespace vm = vmrpc::transport::vm;

constexpr std::uint64_t kSectorBytes = 512;  // what st_blocks counts

std::string absolute(const std::string& folder) {
    const std::string path = fs::absolute(folder).lexically_normal().string();
    return path.size() > 1 && path.back() == '/' ? path.substr(0, path.size() - 1) : path;
}

/// Paths of Unix sockets on which somebody listens, as they were bound.
std::set<std::string> listening(const Machine& machine) {
    std::set<std::string> paths;
    std::istringstream lines(machine.text("/proc/net/unix").value_or(""));
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string number;
        std::string references;
        std::string protocol;
        std::string flags;
        std::string type;
        std::string state;
        std::string inode;
        std::string path;
        words >> number >> references >> protocol >> flags >> type >> state >> inode >> path;
        if (flags == "00010000" && !path.empty()) paths.insert(path);  // it accepts connections
    }
    return paths;
}

bool is_listening(const std::set<std::string>& paths, const std::string& folder, const std::string& name) {
    if (paths.contains(folder + "/" + name)) return true;
    for (const std::string& path : paths)  // bound by a path from the service's own folder
        if (path.front() != '/' && fs::path(path).filename() == name) return true;
    return false;
}

bool check_access(const std::string& folder, Findings& findings) {
    struct stat status {};
    if (::stat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
        findings.error("folder", folder + " is no folder", "`vmrpc qemu-args` makes it, with the first VM's memory");
        return false;
    }
    if (::faccessat(AT_FDCWD, folder.c_str(), R_OK | W_OK | X_OK, AT_EACCESS) != 0)
        findings.error("folder", fmt::format("{} is not for user {}", folder, ::geteuid()),
                       "run this, and the service, as the user that it belongs to");
    else if ((status.st_mode & S_IWOTH) != 0)
        findings.warning("folder", fmt::format("anybody may change {}", folder), fmt::format("`chmod o-w {}`", folder));
    else
        findings.ok("folder", folder);
    return true;
}

/// Whether what the files may yet take is there.
void check_space(const std::string& folder, std::uint64_t promised_bytes, Findings& findings) {
    struct statfs status {};
    if (::statfs(folder.c_str(), &status) != 0) return;
    const auto free_bytes = static_cast<std::uint64_t>(status.f_bavail) * static_cast<std::uint64_t>(status.f_bsize);
    const bool is_memory = status.f_type == TMPFS_MAGIC || status.f_type == HUGETLBFS_MAGIC;
    if (promised_bytes > free_bytes)
        findings.warning("space",
                         fmt::format("the VMs' files may take {} more, {} are free", size_text(promised_bytes),
                                     size_text(free_bytes)),
                         "where there is none left, who touches memory gets SIGBUS: a larger tmpfs (mount -o "
                         "remount,size=), or smaller files");
    else if (!is_memory)
        findings.warning("space", folder + " is on a disk: the kernel writes the VMs' memory to it now and then",
                         "a folder on a tmpfs, such as /run or /dev/shm");
    else
        findings.ok("space", fmt::format("in memory, {} are free", size_text(free_bytes)));
}

/// What it may yet take.
std::uint64_t check_memory_file(const std::string& path, Findings& findings) {
    const auto memory = vm::open_memory_file(path);
    struct stat status {};
    if (!memory) {
        findings.error("VM", memory.error().text, "`vmrpc qemu-args`, when the file is out of the way");
        return 0;
    }
    if (::fstat(memory->file.get(), &status) != 0) return 0;
    const auto taken = static_cast<std::uint64_t>(status.st_blocks) * kSectorBytes;
    findings.ok("VM", fmt::format("{}: a segment of {}, {} of memory taken", path, size_text(memory->segment_bytes),
                                  size_text(taken)));
    return static_cast<std::uint64_t>(status.st_size) > taken ? static_cast<std::uint64_t>(status.st_size) - taken : 0;
}

/// What it may yet take.
std::uint64_t check_ram_file(const std::string& path, Findings& findings) {
    const auto ram = vm::open_ram_file(path);
    struct stat status {};
    if (!ram) {
        findings.error("VM", ram.error().text, "`vmrpc qemu-args`, when the file is out of the way");
        return 0;
    }
    if (::fstat(ram->file.get(), &status) != 0) return 0;
    const auto taken = static_cast<std::uint64_t>(status.st_blocks) * kSectorBytes;
    findings.ok("VM",
                fmt::format("{}: a VM's RAM of {}, {} of memory taken", path, size_text(ram->bytes), size_text(taken)));
    return ram->bytes > taken ? ram->bytes - taken : 0;
}

class Sockets {
  public:
    Sockets(const Machine& machine, std::string folder) : listening_(listening(machine)), folder_(std::move(folder)) {}

    void check(const std::string& name, Findings& findings) const {
        const std::string path = folder_ + "/" + name;
        struct stat status {};
        if (::stat(path.c_str(), &status) != 0)
            findings.warning("socket", path + " is not there",
                             "start the service, at an address with this ring, before QEMU");
        else if (!S_ISSOCK(status.st_mode))
            findings.error("socket", path + " is no socket", "remove it, then start the service anew");
        else if (!is_listening(listening_, folder_, name))
            findings.warning("socket", path + ", on which nobody listens",
                             "start the service (or it runs in another network namespace, out of sight)");
        else
            findings.ok("socket", path + ", on which a service listens");
    }

  private:
    std::set<std::string> listening_;
    std::string folder_;
};

const char* kind_of_socket(const Machine& machine, VmRing ring) {
    if (ring == VmRing::kDoorbell) return ".doorbell";
    if (ring == VmRing::kPoll) return ".poll";
    if (ring == VmRing::kSerial) return ".serial";
    return machine.exists("/dev/vhost-vsock") ? nullptr : ".vsock";
}

}  // namespace

void check_folder(const Machine& machine, const VmAddress& address, Findings& findings) {
    const std::string folder = absolute(address.folder);
    if (!check_access(folder, findings)) return;
    const Sockets sockets(machine, folder);
    if (address.memory == VmMemory::kBar) {
        sockets.check("bar.doorbell", findings);
        return;
    }
    std::uint64_t promised_bytes = 0;
    bool has_vm = false;
    const bool is_ram = address.memory == VmMemory::kRam;
    const char* suffix = is_ram ? vm::kRamSuffix : vm::kMemorySuffix;
    const char* kind = is_ram ? ".vsock" : kind_of_socket(machine, address.ring);
    for (const std::string& name : Machine("").list(folder)) {
        const fs::path path = fs::path(folder) / name;
        if (path.extension() != suffix) continue;
        has_vm = true;
        promised_bytes += is_ram ? check_ram_file(path.string(), findings) : check_memory_file(path.string(), findings);
        if (kind != nullptr) sockets.check(path.stem().string() + kind, findings);
    }
    if (!has_vm)
        findings.warning("VM", fmt::format("no NAME{} is there", suffix),
                         "`vmrpc qemu-args ADDRESS --name NAME` makes one");
    check_space(folder, promised_bytes, findings);
}

}  // namespace tool
