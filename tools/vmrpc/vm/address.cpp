#include "vmrpc/vm/address.hpp"

#include "layout/segment.hpp"
#include "vmrpc/failure.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <utility>

namespace tool {
namespace {

constexpr std::string_view kScheme = "vm:";
constexpr std::array<std::pair<std::string_view, VmMemory>, 3> kMemories{
    {{"dax", VmMemory::kDax}, {"bar", VmMemory::kBar}, {"ram", VmMemory::kRam}}};
constexpr std::array<std::pair<std::string_view, VmRing>, 4> kRings{
    {{"doorbell", VmRing::kDoorbell}, {"vsock", VmRing::kVsock}, {"serial", VmRing::kSerial}, {"poll", VmRing::kPoll}}};
constexpr std::string_view kAnySocket = ".doorbell";  // the longest ending
constexpr std::size_t kMaxSocketPath = 107;

template <class List, class Value>
std::string_view word_for(const List& list, Value value) {
    return std::find_if(list.begin(), list.end(), [value](const auto& each) { return each.second == value; })->first;
}

template <class List>
auto value_of(const List& list, std::string_view key, std::string_view word) {
    for (const auto& [known, value] : list)
        if (known == word) return value;
    std::string all;
    for (const auto& [known, value] : list) all += fmt::format("{}{}={}", all.empty() ? "" : ", ", key, known);
    throw Failure(fmt::format("{}={} is not known; there are: {}", key, word, all));
}

unsigned processes_of(std::string_view word) {
    unsigned number = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
    if (error != std::errc() || end != word.data() + word.size() || number == 0 ||
        number > vmrpc::layout::kMaxDirectoryEntries)
        throw Failure(fmt::format("processes={} is no number from 1 to {}", word, vmrpc::layout::kMaxDirectoryEntries));
    return number;
}

void take(VmAddress& address, std::string_view setting) {
    const std::size_t equals = std::min(setting.find('='), setting.size());
    const std::string_view key = setting.substr(0, equals);
    const std::string_view word = setting.substr(std::min(equals + 1, setting.size()));
    if (key == "memory")
        address.memory = value_of(kMemories, key, word);
    else if (key == "ring")
        address.ring = value_of(kRings, key, word);
    else if (key == "processes")
        address.processes = processes_of(word);
    else
        throw Failure(fmt::format("an address has no setting \"{}\"; there are memory, ring and processes", key));
}

bool is_id_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
}

}  // namespace

std::string_view name_of(VmMemory memory) {
    return word_for(kMemories, memory);
}

std::string_view name_of(VmRing ring) {
    return word_for(kRings, ring);
}

VmAddress parse_vm_address(const std::string& text) {
    if (text.compare(0, kScheme.size(), kScheme) != 0)
        throw Failure(fmt::format(
            "{} is no address of a service for VMs, which is vm:FOLDER[?memory=dax|bar|ram&ring=doorbell|vsock|"
            "serial|poll&processes=N]",
            text));
    const std::size_t question = std::min(text.find('?'), text.size());
    VmAddress address;
    address.folder = text.substr(kScheme.size(), question - kScheme.size());
    std::string_view rest = std::string_view(text).substr(std::min(question + 1, text.size()));
    const bool says_ring = rest.starts_with("ring=") || rest.find("&ring=") != std::string_view::npos;
    while (!rest.empty()) {
        const std::size_t end = std::min(rest.find('&'), rest.size());
        take(address, rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    if (address.memory == VmMemory::kRam && !says_ring) address.ring = VmRing::kVsock;
    if (address.memory == VmMemory::kRam && address.ring != VmRing::kVsock)
        throw Failure("memory=ram comes with a stream, which rings: take ring=vsock, or say none");
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
    if (name == "bar")
        throw Failure(fmt::format("no VM may be called bar: bar{} is every VM's; {}", kAnySocket, instead));
    const std::size_t bytes = folder.size() + 1 + name.size() + kAnySocket.size();
    if (bytes > kMaxSocketPath)
        throw Failure(
            fmt::format("{}/{}{} has {} bytes, a socket's path {} at most: choose a shorter name, or a folder "
                        "such as /run/vmrpc",
                        folder, name, kAnySocket, bytes, kMaxSocketPath));
}

}  // namespace tool
