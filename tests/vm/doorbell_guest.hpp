// What the files of doorbell_client share: the device in this guest, its brokers, and processes that use them.
#pragma once

#include "guest_checks.hpp"
#include "transport/vm/doorbell/guest_doorbell.hpp"

#include <grp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <vector>

namespace doorbell_test {

using namespace vmrpc;                 // NOLINT(google-build-using-namespace)
using namespace vmrpc::transport::vm;  // NOLINT(google-build-using-namespace)
using guest_checks::say;

inline constexpr std::uint32_t kHost = 0;
inline constexpr std::uint32_t kSelf = 1;
inline constexpr std::uint32_t kWorkers = 3;
inline constexpr int kPatienceMs = 20'000;
inline constexpr std::int64_t kLimitNs = 30'000'000'000;

inline std::string first_line(const std::filesystem::path& path) {
    std::ifstream in(path);
    std::string line;
    std::getline(in, line);
    return line;
}

inline std::vector<std::string> find_devices() {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator("/sys/bus/pci/devices"))
        if (first_line(entry.path() / "vendor") == "0x1af4" && first_line(entry.path() / "device") == "0x1110")
            found.push_back(entry.path().filename());
    std::ranges::sort(found);
    return found;
}

inline const std::string& address(std::size_t number = 0) {
    static const std::vector<std::string> found = find_devices();
    EXPECT(number < found.size());
    return found[number];
}

inline std::string sysfs(const std::string& name) {
    return "/sys/bus/pci/devices/" + address() + "/" + name;
}

inline std::string group_node() {
    return "/dev/vfio/" + std::filesystem::read_symlink(sysfs("iommu_group")).filename().string();
}

inline base::Result<std::unique_ptr<GuestDoorbell>> open_doorbell(int proof = -1, std::size_t device = 0) {
    return GuestDoorbell::open(address(device), proof, base::Deadline::in(kLimitNs));
}

inline bool wait_until(const std::function<bool()>& done) {
    for (int i = 0; i < kPatienceMs; i += 5) {
        if (done()) return true;
        ::usleep(5000);
    }
    return false;
}

/// The vmrpc-doorbell processes of a device that are not dead yet.
inline std::vector<pid_t> brokers(std::size_t device = 0) {
    std::vector<pid_t> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        const std::string name = entry.path().filename();
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        if (first_line(entry.path() / "comm") == "vmrpc-doorbell" &&
            first_line(entry.path() / "cmdline").find(address(device)) != std::string::npos)
            found.push_back(std::stoi(name));
    }
    return found;
}

/// How often the vector has been rung since; 0 if it is not in time.
inline std::uint64_t wait_for(int interrupt, int limit_ms = kPatienceMs) {
    pollfd watched{interrupt, POLLIN, 0};
    std::uint64_t count = 0;
    if (::poll(&watched, 1, limit_ms) != 1) return 0;
    return ::read(interrupt, &count, sizeof count) == 8 ? count : 0;
}

/// From this VM to itself, through the device.
inline bool rings_itself(GuestDoorbell& doorbell, std::uint32_t vector) {
    const auto interrupt = NEED(doorbell.interrupt(vector));
    while (wait_for(interrupt.get(), 0) != 0) {  // what others left
    }
    for (int i = 0; i < 10; ++i) {
        doorbell.ring(kSelf, vector);
        if (wait_for(interrupt.get()) != 1) return false;
    }
    return true;
}

inline int status_of(pid_t child) {
    int status = -1;
    EXPECT(::waitpid(child, &status, 0) == child);
    return status;
}

template <class Body>
pid_t start(const Body& body) {
    const pid_t child = ::fork();
    if (child == 0) std::_Exit(body());
    return child;
}

/// As another user, with no group but this one.
template <class Body>
inline int as_user(uid_t user, gid_t group, const Body& body) {
    return status_of(start([&] {
        EXPECT(::setgroups(0, nullptr) == 0 && ::setgid(group) == 0 && ::setuid(user) == 0);
        return body();
    }));
}

inline bool fails(const base::Result<std::unique_ptr<GuestDoorbell>>& result, int status, const std::string& text) {
    if (!result && result.error().status == static_cast<vmrpc_status>(status) &&
        result.error().text.find(text) != std::string::npos)
        return true;
    say("wanted " + std::to_string(status) + " \"" + text + "\", got " +
        (result ? "a doorbell" : std::to_string(result.error().status) + ": " + result.error().text));
    return false;
}

/// A variable that children share.
template <class T>
inline std::atomic<T>* shared() {
    void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT(page != MAP_FAILED);
    return new (page) std::atomic<T>();
}

using Words = std::vector<std::string>;

/// One of the tests of brokers that end, and of users that may not, by its name. 99: there is none of that name.
int brokers_test(const std::string& what, const Words& words);

}  // namespace doorbell_test
