// For ivshmem_client: several VMs, and several processes of one, keep out of each other's memory.
#include "guest_children.hpp"
#include "ivshmem_guest.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace ivshmem_test {
namespace {

std::string device_folder() {
    const std::string devices = "/sys/bus/pci/devices";
    std::string found;
    DIR* folder = ::opendir(devices.c_str());
    while (const dirent* entry = ::readdir(folder)) {
        std::ifstream in(devices + "/" + entry->d_name + "/device");
        std::string id;
        if (std::getline(in, id) && id == "0x1110") found = devices + "/" + entry->d_name;
    }
    ::closedir(folder);
    return found;
}

std::uint64_t pattern_of(std::uint32_t vm) {
    return 0x5ec2'e700'0000'0000U + vm * 0x0101'0101U;
}

// Fills the heap with this VM's pattern; when told so reads all memory of the device, and looks for another's.
int isolated() {
    const auto client = join();
    const auto vm = NEED(client.call<own_vm>());
    auto array = NEED(client.heap().make_array<std::uint64_t>(500'000));
    std::fill(array.begin(), array.end(), pattern_of(vm));
    say("filled");
    while (NEED(client.call<closed_count>()) < 3) std::this_thread::sleep_for(milliseconds(20));
    const int file = ::open((device_folder() + "/resource2").c_str(), O_RDWR | O_CLOEXEC);
    struct stat status {};
    EXPECT(file >= 0 && ::fstat(file, &status) == 0 && status.st_size > 0);
    const auto words = static_cast<std::size_t>(status.st_size) / sizeof(std::uint64_t);
    void* memory = ::mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_SHARED, file, 0);
    EXPECT(memory != MAP_FAILED);
    const auto* all = static_cast<const std::uint64_t*>(memory);
    std::size_t own = 0;
    std::size_t foreign = 0;
    for (std::size_t i = 0; i < words; ++i) {
        own += all[i] == pattern_of(vm) ? 1 : 0;
        for (std::uint32_t other = 1; other <= 3; ++other)
            foreign += other != vm && all[i] == pattern_of(other) ? 1 : 0;
    }
    say("VM " + std::to_string(vm) + " found own " + std::to_string(own) + " foreign " + std::to_string(foreign) +
        " of " + std::to_string(words));
    EXPECT(own >= array.size() && foreign == 0);
    for (int i = 0; i < 1'000; ++i) EXPECT(NEED(client.call<add>(i, i)) == 2 * i);
    say("done");
    return 0;
}

std::size_t foreign_words(const char* device, std::uint32_t own_vm) {
    const int file = ::open(device, O_RDWR | O_CLOEXEC);
    std::uint64_t bytes = 0;
    std::ifstream("/sys/bus/dax/devices/dax0.0/size") >> bytes;
    EXPECT(file >= 0 && bytes > 0);
    void* memory = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file, 0);
    EXPECT(memory != MAP_FAILED);
    const auto* all = static_cast<const std::uint64_t*>(memory);
    std::size_t own = 0;
    std::size_t foreign = 0;
    for (std::size_t i = 0; i < bytes / sizeof(std::uint64_t); ++i) {
        own += all[i] == pattern_of(own_vm) ? 1 : 0;
        for (std::uint32_t other = 1; other <= 8; ++other)
            foreign += other != own_vm && all[i] == pattern_of(other) ? 1 : 0;
    }
    EXPECT(own >= 100'000);
    return foreign;
}

/// Calls of all kinds for so many milliseconds, each result looked at; returns how many.
std::size_t call_for(const vmrpc::Client& client, double duration_ms) {
    std::size_t calls = 0;
    std::vector<double> copied(1'000, 2.0);
    for (const auto start = Clock::now(); ms_since(start) < duration_ms; ++calls) {
        const auto number = static_cast<std::int64_t>(calls);
        EXPECT(NEED(client.call<add>(number, 7)) == number + 7);
        if (calls % 50 != 0) continue;
        auto array = NEED(client.heap().make_array<double>(20'000));
        std::fill(array.begin(), array.end(), static_cast<double>(calls));
        EXPECT(NEED(client.call<mean>(array)) == static_cast<double>(calls));
        NEED(client.call<negate>(array));
        EXPECT(array[19'999] == -static_cast<double>(calls));
        EXPECT(NEED(client.call<mean>(copied)) == 2.0);
    }
    return calls;
}

// One of several processes of one of several VMs: what it keeps in its memory is there at the end, and nobody else's.
int busy() {
    const auto client = join();
    const auto vm = NEED(client.call<own_vm>());
    auto array = NEED(client.heap().make_array<std::uint64_t>(100'000));
    std::fill(array.begin(), array.end(), pattern_of(vm));
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing sets it
    const char* seconds = std::getenv("BUSY_SECONDS");
    const std::size_t calls = call_for(client, 1'000.0 * std::atof(seconds != nullptr ? seconds : "2"));
    EXPECT(std::all_of(array.begin(), array.end(), [vm](std::uint64_t word) { return word == pattern_of(vm); }));
    const std::size_t foreign = foreign_words("/dev/dax0.0", vm);
    say("VM " + std::to_string(vm) + ": " + std::to_string(calls) + " calls, foreign words " + std::to_string(foreign));
    EXPECT(foreign == 0);
    return 0;
}

int two_busy() {
    const pid_t first = spawn("busy");
    const pid_t second = spawn("busy");
    EXPECT(status_of(first) == 0);
    EXPECT(status_of(second) == 0);
    return 0;
}

}  // namespace

int isolation(const std::string& what) {
    const std::map<std::string, int (*)()> known{
        {"isolation", isolated},
        {"busy", busy},
        {"two-busy", two_busy},
    };
    const auto found = known.find(what);
    return found == known.end() ? 99 : found->second();
}

}  // namespace ivshmem_test
