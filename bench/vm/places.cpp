#include "vm/places.hpp"

#include "vm/floor.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <system_error>
#include <vector>

namespace vmrpc::bench {
namespace {

namespace fs = std::filesystem;

struct Device {
    std::uint64_t bytes = 0;
    std::string name;  // in an address
    fs::path memory;   // to be mapped
};

template <class Word>
Word first_word(const fs::path& path) {
    std::ifstream file(path);
    Word word{};
    file >> word;
    return word;
}

std::vector<Device> dax_devices() {
    std::vector<Device> devices;
    for (const auto& entry : fs::directory_iterator("/sys/bus/dax/devices")) {
        const std::string name = entry.path().filename();
        devices.push_back({first_word<std::uint64_t>(entry.path() / "size"), name, "/dev/" + name});
    }
    return devices;
}

std::vector<Device> bar_devices() {
    std::vector<Device> devices;
    for (const auto& entry : fs::directory_iterator("/sys/bus/pci/devices")) {
        if (first_word<std::string>(entry.path() / "vendor") != "0x1af4" ||
            first_word<std::string>(entry.path() / "device") != "0x1110")
            continue;
        const fs::path memory = entry.path() / "resource2";
        devices.push_back({fs::file_size(memory), entry.path().filename(), memory});
    }
    return devices;
}

/// The largest one first.
std::vector<Device> find_devices(const std::string& memory) {
    std::vector<Device> devices = memory == "bar" ? bar_devices() : dax_devices();
    std::sort(devices.begin(), devices.end(), [](const Device& a, const Device& b) { return a.bytes > b.bytes; });
    if (devices.size() != 3) throw std::runtime_error(fmt::format("{} devices, not 3", devices.size()));
    return devices;
}

std::string address_of(const Device& device, const std::string& memory, const std::string& ring) {
    return fmt::format("vm:{}?memory={}&ring={}", device.name, memory, ring);
}

}  // namespace

Places::Places(const PlacesWords& words) : tcp_port_(words.tcp_port) {
    const std::vector<Device> devices = find_devices(words.memory);
    spins_ = address_of(devices[0], words.memory, words.spin_ring);
    sleeps_ = address_of(devices[1], words.memory, words.ring);
    if (words.memory == "bar") std::ofstream(devices[2].memory.parent_path() / "enable") << "1";
    floor_file_.reset(::open(devices[2].memory.c_str(), O_RDWR | O_CLOEXEC));
    floor_ = ::mmap(nullptr, kFloorMapped, PROT_READ | PROT_WRITE, MAP_SHARED, floor_file_.get(), 0);
    if (floor_ == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "cannot map the floor's device");
}

bool vfio_has_a_device() {
    std::error_code none;
    const fs::directory_iterator entries("/sys/bus/pci/drivers/vfio-pci", none);
    return std::any_of(begin(entries), end(entries), [](const fs::directory_entry& entry) {
        return entry.path().filename().string().find(':') != std::string::npos;
    });
}

Places::~Places() {
    ::munmap(floor_, kFloorMapped);
}

}  // namespace vmrpc::bench
