#include "base/fd.hpp"
#include "layout/segment.hpp"
#include "transport/vm/serial_port.hpp"
#include "vmrpc/doctor/checks.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace tool {
namespace {

namespace layout = vmrpc::layout;

constexpr const char* kVirtio = "0x1af4";
constexpr const char* kDaxFolder = "/sys/bus/dax/devices/";
constexpr std::uint64_t kLeastMapBytes = 4096;

bool begins_with(const std::string& text, const char* prefix) {
    return text.compare(0, std::strlen(prefix), prefix) == 0;
}

/// The first bytes of a device's memory; a file's that is shorter cannot be looked at.
bool read_header(const std::string& path, std::uint64_t align, layout::SegmentHeader& header) {
    const vmrpc::base::Fd file(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    struct stat status {};
    if (!file.valid() || ::fstat(file.get(), &status) != 0) return false;
    if (S_ISREG(status.st_mode) && static_cast<std::uint64_t>(status.st_size) < sizeof header) return false;
    const std::uint64_t bytes = std::max(align, kLeastMapBytes);
    void* mapped = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.get(), 0);
    if (mapped == MAP_FAILED) return false;
    std::memcpy(&header, mapped, sizeof header);  // what is there is the service's to change: looked at once
    ::munmap(mapped, bytes);
    return true;
}

/// The file's on the host; empty if the kernel does not say.
std::string uuid_of(const Machine& machine, const std::string& name) {
    std::error_code error;
    const auto real = std::filesystem::canonical(machine.place(kDaxFolder + name), error);
    return error ? "" : Machine("").line((real.parent_path() / "uuid").string());
}

Finding what_lies_there(const Machine& machine, const std::string& name, const std::string& what) {
    layout::SegmentHeader header{};
    const auto align = machine.number(kDaxFolder + name + "/align").value_or(kLeastMapBytes);
    if (!read_header(machine.place("/dev/" + name), align, header))
        return {Level::kError, "memory", what + ", which cannot be mapped",
                "if the kernel is locked down (Secure Boot), boot it without"};
    if (header.magic != layout::kSegmentMagic)
        return {Level::kWarning, "memory", what + ", with no vmrpc segment in it",
                "start the service on the host; if it runs, its log says why it does not take this VM"};
    if (header.layout_major != layout::kLayoutMajor)
        return {Level::kError, "memory",
                fmt::format("{}, with a segment of layout {}; this vmrpc has {}", what, header.layout_major,
                            layout::kLayoutMajor),
                "install the same version of vmrpc on both sides"};
    return {Level::kOk,
            "memory",
            fmt::format("{}, with a vmrpc segment for {} processes at once", what, header.directory_entries),
            {}};
}

Finding look_at_dax(const Machine& machine, const std::string& name) {
    const std::string uuid = uuid_of(machine, name);
    const std::string what =
        fmt::format("/dev/{}: {}{}{}", name, size_text(machine.number(kDaxFolder + name + "/size").value_or(0)),
                    uuid.empty() ? "" : ", uuid ", uuid);
    const std::string driver = machine.link_name(kDaxFolder + name + "/driver");
    if (driver == "kmem")
        return {Level::kError, "memory", what + ", which the kernel uses as RAM of its own",
                fmt::format("`daxctl reconfigure-device --mode=devdax {}`", name)};
    if (!machine.exists("/dev/" + name))
        return {Level::kError, "memory", what + ", without a device node", "`modprobe device_dax`"};
    if (!machine.may_use("/dev/" + name))
        return {Level::kError, "memory", fmt::format("{}, which user {} may not open", what, ::geteuid()),
                kBecomeMember};
    return what_lies_there(machine, name, what);
}

void check_missing_dax(const Machine& machine, const GuestDevices& devices, Findings& findings) {
    const auto blocks = machine.list("/sys/block");
    const auto block =
        std::find_if(blocks.begin(), blocks.end(), [](const std::string& name) { return begins_with(name, "pmem"); });
    if (block != blocks.end())
        findings.error("memory", fmt::format("/dev/{}: memory without vmrpc's info block", *block),
                       "make the VM's file by `vmrpc qemu-args` on the host, and give it all of that file");
    else if (devices.has_virtio_pmem || devices.has_nvdimm)
        findings.error("memory", "the VM has a device, but there is no /dev/dax",
                       "load the modules below; if they are, the VM's file has no info block: make it by `vmrpc "
                       "qemu-args`");
    else if (devices.ivshmem.empty())
        findings.error("memory", "none: neither a DAX device nor ivshmem", kGiveOne);
    else
        findings.ok("memory", "no DAX device: what ivshmem has (memory=bar)");
}

}  // namespace

GuestDevices find_guest_devices(const Machine& machine) {
    GuestDevices devices;
    devices.dax = machine.list("/sys/bus/dax/devices");
    devices.ivshmem = machine.pci_devices(kVirtio, "0x1110");
    devices.has_virtio_pmem = !machine.pci_devices(kVirtio, "0x105b").empty();
    devices.has_vsock =
        !machine.pci_devices(kVirtio, "0x1053").empty() || !machine.pci_devices(kVirtio, "0x1012").empty();
    devices.has_virtio_serial =
        !machine.pci_devices(kVirtio, "0x1043").empty() || !machine.pci_devices(kVirtio, "0x1003").empty();
    devices.ports = vmrpc::transport::vm::serial_ports({.ports = machine.place("/sys/class/virtio-ports")});
    for (const std::string& name : machine.list("/sys/bus/acpi/devices"))
        if (begins_with(name, "ACPI0012")) devices.has_nvdimm = true;  // where the firmware lists them
    return devices;
}

void check_dax(const Machine& machine, const GuestDevices& devices, Findings& findings) {
    for (const std::string& name : devices.dax) findings.add(look_at_dax(machine, name));
    if (devices.dax.empty()) check_missing_dax(machine, devices, findings);
}

void check_named_device(const std::string& name, const GuestDevices& devices, Findings& findings) {
    if (name.empty()) {
        if (devices.dax.size() > 1)
            findings.warning("address", fmt::format("there are {} DAX devices", devices.dax.size()),
                             "name one in the address, as in vm:dax0.0");
        return;
    }
    const auto has = [&name](const std::vector<std::string>& list) {
        return std::find(list.begin(), list.end(), name) != list.end();
    };
    if (!has(devices.dax) && !has(devices.ivshmem))
        findings.error("address", fmt::format("there is no device {}", name), "name one of those below");
}

}  // namespace tool
