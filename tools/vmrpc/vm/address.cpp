#include "vmrpc/vm/address.hpp"

#include "vmrpc/failure.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace tool {
namespace {

namespace vm = vmrpc::transport::vm;

constexpr std::string_view kScheme = "vm:";
constexpr std::string_view kAnySocket = ".doorbell.qemu";  // the longest ending
constexpr std::size_t kMaxSocketPath = 107;

bool is_id_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
}

}  // namespace

VmAddress parse_vm_address(const std::string& text) {
    if (!text.starts_with(kScheme))
        throw Failure(fmt::format(
            "{} is no address of a service for VMs, which is vm:FOLDER[?memory=dax|bar|ram&ring=doorbell|vsock|"
            "serial|poll&processes=N]",
            text));
    const auto said = vm::parse_address(text.substr(kScheme.size()));
    if (!said) throw Failure(said.error().text);
    VmAddress address{.folder = said->place, .memory = said->memory, .ring = said->ring, .processes = {}};
    if (text.find("processes=", text.find('?')) != std::string::npos) address.processes = said->processes;
    if (address.memory == VmMemory::kBest) address.memory = VmMemory::kDax;
    if (address.ring == VmRing::kBest)
        address.ring = address.memory == VmMemory::kRam ? VmRing::kVsock : VmRing::kDoorbell;
    return address;
}

bool is_device_name(const std::string& text) {
    const bool like_dax = text.compare(0, 3, "dax") == 0 && text.find('.') != std::string::npos &&
                          text.find_first_not_of("0123456789.", 3) == std::string::npos;
    const bool like_pci = text.size() == 12 && text[4] == ':' && text[7] == ':' && text[10] == '.';
    return like_dax || like_pci;
}

void check_vm_name(const std::string& name, const std::string& folder) {
    const std::string instead = "choose a name of letters, digits, '-', '_' and '.', as in --name web1";
    if (name.empty()) throw Failure(fmt::format("the VM's name is empty: {}", instead));
    if (!std::all_of(name.begin(), name.end(), is_id_character) || name.front() == '.' || name.front() == '-')
        throw Failure(fmt::format("\"{}\" cannot be a VM's name, which is part of file names and of QEMU's ids: {}",
                                  name, instead));
    if (name == "bar") throw Failure(fmt::format("no VM may be called bar: bar.doorbell is every VM's; {}", instead));
    const std::size_t bytes = folder.size() + 1 + name.size() + kAnySocket.size();
    if (bytes > kMaxSocketPath)
        throw Failure(
            fmt::format("{}/{}{} has {} bytes, a socket's path {} at most: choose a shorter name, or a folder "
                        "such as /run/vmrpc",
                        folder, name, kAnySocket, bytes, kMaxSocketPath));
}

}  // namespace tool
