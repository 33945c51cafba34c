#include "transport/vm/dax_device.hpp"

#include "layout/segment.hpp"
#include "layout/wild.hpp"
#include "transport/vm/window.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace vmrpc::transport::vm {
namespace {

namespace fs = std::filesystem;

struct Places {
    std::string devices;  // a name for each
    std::string nodes;
};

Places places() {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): tests set it before they connect
    const char* named = ::secure_getenv("VMRPC_DAX_DEVICES_FOR_TESTS");
    if (named != nullptr && *named != '\0') return {named, named};
    return {"/sys/bus/dax/devices", "/dev"};
}

/// In sysfs a folder with a file; in a test's folder the device itself.
std::uint64_t size_of(const Places& where, const std::string& name, int device) {
    std::uint64_t bytes = 0;
    std::ifstream in(fmt::format("{}/{}/size", where.devices, name));
    if (in >> bytes) return bytes;
    struct stat status {};
    return ::fstat(device, &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

base::Result<DaxDevice> open_named(const Places& where, const std::string& name) {
    const std::string path = fmt::format("{}/{}", where.nodes, name);
    DaxDevice device{name, notify::GuardedFd::made_by([&path] { return ::open(path.c_str(), O_RDWR | O_CLOEXEC); }), 0};
    if (!device.memory.valid() && (errno == EACCES || errno == EPERM))
        return base::fail(
            VMRPC_NOT_PERMITTED,
            fmt::format("vm:{}: user {} may not open {}: as root, once, install vmrpc's udev rule and put "
                        "this user into the group vmrpc, or chown the file",
                        name, ::geteuid(), path));
    if (!device.memory.valid()) return base::fail_errno(fmt::format("vm:{}: cannot open {}", name, path), errno);
    device.bytes = size_of(where, name, device.memory.get());
    return device;
}

bool holds_segment(const DaxDevice& device) {
    if (device.bytes < layout::kAreaBytes) return false;
    const auto view = DeviceView::map(device.memory.get(), layout::kAreaBytes);
    std::uint64_t magic = 0;
    if (view) layout::copy_from_peer(&magic, (*view)->base(), sizeof magic);
    return magic == layout::kSegmentMagic;
}

/// What of the way from the device to /dev/dax is not there.
std::string why_none() {
    std::error_code ignored;
    if (fs::exists("/sys/bus/dax/drivers/device_dax", ignored))
        return "the VM has no virtio-pmem or nvdimm device with an info block: `vmrpc qemu-args` on the host makes the "
               "memory and says what to give to QEMU";
    return "the guest's kernel has not loaded the modules virtio_pmem (or nfit), nd_pmem, dax_pmem and device_dax: "
           "load "
           "them with modprobe, and see `vmrpc doctor`";
}

base::Result<DaxDevice> open_only(const Places& where, const std::vector<std::string>& names, DaxUse use) {
    std::vector<DaxDevice> found;
    std::string reasons;
    for (const std::string& name : names) {
        auto device = open_named(where, name);
        if (!device && names.size() == 1) return device;
        if (!device) {
            reasons += "; " + device.error().text;
        } else if (use == DaxUse::kServe || holds_segment(*device)) {
            found.push_back(std::move(*device));
        }
    }
    if (found.size() == 1) return std::move(found.front());
    if (found.empty())
        return base::fail(VMRPC_NO_SERVER, fmt::format("vm:: no server serves this VM yet: {} of this VM hold{} no "
                                                       "segment of vmrpc's; start the service on the host{}",
                                                       fmt::join(names, ", "), names.size() == 1 ? "s" : "", reasons));
    std::string list;
    for (const DaxDevice& device : found) list += fmt::format("{}vm:{}", list.empty() ? "" : ", ", device.name);
    return base::fail(VMRPC_BAD_ADDRESS, fmt::format("vm:: there are {} devices: name one of {}", found.size(), list));
}

}  // namespace

std::vector<std::string> dax_devices() {
    std::vector<std::string> names;
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(places().devices, none))
        if (const std::string name = entry.path().filename(); name.starts_with("dax")) names.push_back(name);
    std::sort(names.begin(), names.end());
    return names;
}

base::Result<DaxDevice> open_dax(const std::string& name, DaxUse use) {
    const Places where = places();
    const std::vector<std::string> names = dax_devices();
    if (names.empty())
        return base::fail(
            VMRPC_NO_SERVER,
            fmt::format("vm:{}: no dax device is here (a server on the host needs a folder, as in vm:/run/mean): {}",
                        name, why_none()));
    if (name.empty()) return open_only(where, names, use);
    if (std::find(names.begin(), names.end(), name) == names.end())
        return base::fail(VMRPC_BAD_ADDRESS,
                          fmt::format("vm:{}: there is no such device; there are: {}", name, fmt::join(names, ", ")));
    return open_named(where, name);
}

}  // namespace vmrpc::transport::vm
