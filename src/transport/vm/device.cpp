#include "transport/vm/device.hpp"

#include "transport/vm/doorbell/broker_protocol.hpp"
#include "transport/vm/doorbell/vfio_binding.hpp"

#include <fmt/format.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <vector>

namespace vmrpc::transport::vm {

std::string pci_devices_folder() {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): tests set it before they connect
    const char* named = ::secure_getenv("VMRPC_PCI_DEVICES_FOR_TESTS");
    return named != nullptr && *named != '\0' ? named : kPciDevices;
}

bool is_bound_to_vfio(const std::string& pci_address) {
    return link_name(fmt::format("{}/{}/driver", pci_devices_folder(), pci_address)) == "vfio-pci";
}

namespace {

constexpr const char* kVendor = "0x1af4";
constexpr const char* kDevice = "0x1110";
constexpr const char* kGiveOne =
    "give the VM one: -chardev socket,id=iv,path=PATH -device ivshmem-doorbell,chardev=iv,vectors=2, where a vmrpc "
    "server listens on ivshmem:PATH";

bool is_ivshmem(const std::string& folder) {
    return first_line(folder + "/vendor") == kVendor && first_line(folder + "/device") == kDevice;
}

std::vector<std::string> find_all(const std::string& folder) {
    std::vector<std::string> found;
    const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(folder.c_str()), &::closedir);
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this function's own
    while (const dirent* entry = listing != nullptr ? ::readdir(listing.get()) : nullptr)
        if (is_ivshmem(fmt::format("{}/{}", folder, entry->d_name))) found.emplace_back(entry->d_name);
    std::sort(found.begin(), found.end());
    return found;
}

base::Result<std::string> choose(const std::string& folder, const std::string& address) {
    if (address.empty()) {
        const auto found = find_all(folder);
        if (found.size() == 1) return found.front();
        if (found.empty())
            return base::fail(VMRPC_NO_SERVER,
                              fmt::format("ivshmem:: no ivshmem device (1af4:1110) is in {}: {}", folder, kGiveOne));
        return base::fail(VMRPC_BAD_ADDRESS,
                          fmt::format("ivshmem:: there are {} ivshmem devices: name one of ivshmem:{}", found.size(),
                                      fmt::join(found, ", ivshmem:")));
    }
    if (!is_pci_address(address))
        return base::fail(VMRPC_BAD_ADDRESS,
                          fmt::format("ivshmem:{}: to connect from a guest, use \"ivshmem:\" or a device's PCI address "
                                      "as in ivshmem:0000:00:05.0; a path is for the server on the host",
                                      address));
    if (::access(fmt::format("{}/{}", folder, address).c_str(), F_OK) != 0)
        return base::fail(VMRPC_NO_SERVER,
                          fmt::format("ivshmem:{}: there is no such PCI device: see lspci, or {}", address, kGiveOne));
    if (!is_ivshmem(fmt::format("{}/{}", folder, address)))
        return base::fail(VMRPC_NOT_VMRPC,
                          fmt::format("ivshmem:{}: is no ivshmem device (1af4:1110): see lspci", address));
    return address;
}

tl::unexpected<base::Error> open_error(const std::string& path, const std::string& address, int error) {
    if (error == EACCES || error == EPERM)
        return base::fail(VMRPC_NOT_PERMITTED,
                          fmt::format("ivshmem:{}: user {} may not open {}: run as root, or let root write 1 to enable "
                                      "there and give this user resource0 and resource2",
                                      address, ::geteuid(), path));
    if (error == ENOENT)
        return base::fail(
            VMRPC_NOT_VMRPC,
            fmt::format("ivshmem:{}: {} is missing: the device is not ivshmem-doorbell; {}", address, path, kGiveOne));
    return base::fail_errno(fmt::format("ivshmem:{}: cannot open {}", address, path), error);
}

/// Lets the device answer to memory accesses. sysfs counts how often that was asked for; once is enough.
base::Status enable(const std::string& folder, const std::string& address) {
    const std::string path = folder + "/enable";
    if (const std::string now = first_line(path); !now.empty() && now != "0") return {};
    if (is_bound_to_vfio(address)) return {};  // which enables it when it is opened
    const base::Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file.valid()) return open_error(path, address, errno);
    if (::write(file.get(), "1", 1) == 1) return {};
    return base::fail_errno(fmt::format("ivshmem:{}: cannot enable the device", address), errno);
}

base::Result<notify::GuardedFd> open_resource(const std::string& path, const std::string& address) {
    auto file = notify::GuardedFd::made_by([&path] { return ::open(path.c_str(), O_RDWR | O_CLOEXEC); });
    if (!file.valid()) return open_error(path, address, errno);
    return file;
}

/// BAR 0 is smaller than a page, and need not start where a page does: sysfs maps whole pages.
std::uint64_t start_in_page(const std::string& folder) {
    const std::string line = first_line(folder + "/resource");
    return std::strtoull(line.c_str(), nullptr, 16) & (static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) - 1);
}

}  // namespace

std::vector<std::string> ivshmem_devices() {
    return find_all(pci_devices_folder());
}

base::Result<Device> open_device(const std::string& address) {
    const std::string devices = pci_devices_folder();
    const auto chosen = choose(devices, address);
    if (!chosen) return tl::unexpected(chosen.error());
    const std::string folder = fmt::format("{}/{}", devices, *chosen);
    auto memory = open_resource(folder + "/resource2", *chosen);
    if (!memory) return tl::unexpected(std::move(memory).error());
    auto registers = open_resource(folder + "/resource0", *chosen);
    if (!registers) return tl::unexpected(std::move(registers).error());
    VMRPC_TRY(enable(folder, *chosen));
    struct stat status {};
    if (::fstat(memory->get(), &status) != 0)
        return base::fail_errno(fmt::format("ivshmem:{}: cannot look at the device's memory", *chosen), errno);
    return Device{*chosen, std::move(*memory), std::move(*registers), static_cast<std::uint64_t>(status.st_size),
                  start_in_page(folder)};
}

}  // namespace vmrpc::transport::vm
