#include "guest/devices.hpp"

#include "guest/floor.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <system_error>

namespace vmrpc::bench {
namespace {

std::string first_word(const std::filesystem::path& path) {
    std::ifstream file(path);
    std::string word;
    file >> word;
    return word;
}

/// The folder of the first ivshmem device that has the floor's memory, or has not.
std::filesystem::path device(bool of_floor) {
    for (const auto& entry : std::filesystem::directory_iterator("/sys/bus/pci/devices")) {
        if (first_word(entry.path() / "vendor") != "0x1af4" || first_word(entry.path() / "device") != "0x1110")
            continue;
        if ((std::filesystem::file_size(entry.path() / "resource2") == kFloorBytes) == of_floor) return entry.path();
    }
    throw std::runtime_error(of_floor ? "no device for the floor" : "no device of a server");
}

}  // namespace

std::string server_address() {
    return "ivshmem:" + device(false).filename().string();
}

FloorMemory::FloorMemory() {
    const auto folder = device(true);
    std::ofstream(folder / "enable") << "1";
    file_.reset(::open((folder / "resource2").c_str(), O_RDWR | O_CLOEXEC));
    base_ = ::mmap(nullptr, kFloorBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
    if (base_ == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "cannot map the floor's device");
}

FloorMemory::~FloorMemory() {
    ::munmap(base_, kFloorBytes);
}

}  // namespace vmrpc::bench
