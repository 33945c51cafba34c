// What the ivshmem tests run in a guest: `ivshmem_client WHAT [ARG]`. Exits with 0 if all was as it should be, else
// says what was not.
#include "guest_children.hpp"
#include "ivshmem_guest.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace ivshmem_test;

int values() {
    const auto client = join();
    for (std::int64_t i = 0; i < 2'000; ++i) EXPECT(NEED(client.call<add>(i, -2 * i)) == -i);
    EXPECT(NEED(client.call<own_vm>()) == 1);
    NEED(client.call<ivshmem_test::sleep_ms>(20U));  // longer than anybody spins
    return 0;
}

int spans() {
    const auto client = join();
    EXPECT(vmrpc_offset(client.handle(), VMRPC_DEFAULT_HEAP) == 0);
    auto array = NEED(client.heap().make_array<double>(1'000'000));
    for (std::size_t i = 0; i < array.size(); ++i) array[i] = static_cast<double>(i);
    EXPECT(NEED(client.call<mean>(array)) == 499'999.5);
    EXPECT(NEED(client.call<address_of>(array)) == reinterpret_cast<std::uint64_t>(array.data()));
    NEED(client.call<negate>(array));
    EXPECT(array[999'999] == -999'999.0);
    EXPECT(client.stats().implicit_copies == 0);
    const std::vector<double> copied{1, 2, 6};
    EXPECT(NEED(client.call<mean>(copied)) == 3);
    return 0;
}

// The host sets memory aside before it is used here, and has it back a second after it was freed.
int sparse() {
    constexpr std::uint64_t mib = std::uint64_t{1} << 20;
    const auto client = join();
    const auto bytes = [&] { return NEED(client.call<memory_bytes>()); };
    const std::uint64_t before = bytes();
    std::vector<void*> blocks;
    for (int i = 0; i < 20; ++i) blocks.push_back(NEED(client.heap().allocate(4 * mib)));
    EXPECT(bytes() >= before + 80 * mib);
    EXPECT(client.stats().committed_bytes >= 80 * mib);
    for (void* block : blocks) std::memset(block, 0x5a, 4 * mib);
    const std::uint64_t touched = bytes();
    EXPECT(touched < before + 100 * mib);
    for (void* block : blocks) NEED(client.heap().free(block));
    const auto start = Clock::now();
    while (bytes() >= before + 8 * mib && ms_since(start) < 20'000) std::this_thread::sleep_for(milliseconds(20));
    say("given back after " + std::to_string(ms_since(start)) + " ms");
    EXPECT(bytes() < before + 8 * mib);
    // Again, and not waiting for the timer.
    void* block = NEED(client.heap().allocate(64 * mib));
    std::memset(block, 1, 64 * mib);
    EXPECT(bytes() >= before + 64 * mib);
    NEED(client.heap().free(block));
    NEED(client.heap().trim());
    EXPECT(bytes() < before + 8 * mib);
    EXPECT(client.stats().committed_bytes == 0);
    const auto limited = join({.commit_limit_bytes = 4 * mib});
    EXPECT(limited.heap().allocate(5 * mib).error().status == VMRPC_HEAP_FULL);
    NEED(limited.heap().allocate(3 * mib));
    return 0;
}

int pointers() {
    const auto client = join({.trust_peer = true});
    auto nodes = NEED(client.heap().make_array<Node>(1000));
    for (std::size_t i = 0; i < nodes.size(); ++i)
        nodes[i] = {static_cast<std::int64_t>(i), i + 1 < nodes.size() ? &nodes[i + 1] : nullptr};
    EXPECT(NEED(client.call<sum_list>(nodes.ptr(0))) == 499'500);
    return 0;
}

int unequal() {
    const auto client = join({.unequal_addresses = true});
    EXPECT(vmrpc_offset(client.handle(), VMRPC_DEFAULT_HEAP) != 0);
    auto array = NEED(client.heap().make_array<double>(100'000));
    std::fill(array.begin(), array.end(), 2.0);
    EXPECT(NEED(client.call<mean>(array)) == 2.0);
    const auto there = NEED(client.call<address_of>(array));
    EXPECT(reinterpret_cast<std::uint64_t>(array.data()) ==
           there + static_cast<std::uint64_t>(vmrpc_offset(client.handle(), VMRPC_DEFAULT_HEAP)));
    return 0;
}

// A client that is to spin does so, whatever number the guest's CPU has.
int spins() {
    const auto client = join({.spin = std::chrono::nanoseconds(VMRPC_SPIN_ALWAYS)});
    for (int i = 0; i < 10; ++i) NEED(client.call<ivshmem_test::sleep_ms>(2U));
    EXPECT(client.stats().sleeps == 0);
    return 0;
}

int twenty() {
    for (int i = 0; i < 20; ++i) {
        const auto start = Clock::now();
        const auto client = join();
        const double connected_ms = ms_since(start);
        EXPECT(NEED(client.call<add>(i, 1)) == i + 1);
        if (i % 5 == 0) say("connected in " + std::to_string(connected_ms) + " ms");
    }
    return 0;
}

int two() {
    const pid_t first = spawn("spans");
    const pid_t second = spawn("values");
    EXPECT(status_of(first) == 0);
    EXPECT(status_of(second) == 0);
    return 0;
}

int full() {
    std::vector<vmrpc::Client> clients;
    for (int i = 0; i < 4; ++i) clients.push_back(join());
    for (const auto& client : clients) EXPECT(vmrpc_offset(client.handle(), VMRPC_DEFAULT_HEAP) == 0);
    expect_error(vmrpc::Client::connect(address), VMRPC_OUT_OF_RESOURCES, "close a connection", __LINE__);
    clients.pop_back();
    const auto next = join();
    EXPECT(NEED(next.call<add>(1, 2)) == 3);
    EXPECT(NEED(clients[0].call<add>(1, 2)) == 3);
    return 0;
}

int hang() {
    const auto client = join();
    say("calling");
    NEED(client.call<ivshmem_test::sleep_ms>(300U));
    return 0;
}

std::vector<pid_t> sentinels() {
    std::vector<pid_t> found;
    DIR* folder = ::opendir("/proc");
    while (const dirent* entry = ::readdir(folder)) {
        std::ifstream in(std::string("/proc/") + entry->d_name + "/comm");
        std::string name;
        if (std::getline(in, name) && name == "vmrpc-sentinel") found.push_back(std::atoi(entry->d_name));
    }
    ::closedir(folder);
    return found;
}

// A process is killed in the middle of a call: the server closes its connection, and says how soon after the call's
// end.
int killed() {
    const auto client = join();
    for (int i = 0; i < 6; ++i) {  // more than there are entries: each must become free again
        const auto before = NEED(client.call<closed_count>());
        const pid_t child = spawn_until_it_speaks("hang");
        std::this_thread::sleep_for(milliseconds(50));  // now the server executes its call
        ::kill(child, SIGKILL);
        status_of(child);
        const auto start = Clock::now();
        EXPECT(soon([&] { return NEED(client.call<closed_count>()) > before; }));
        say("close noticed after " + std::to_string(ms_since(start)) + " ms");
    }
    EXPECT(soon([] { return sentinels().size() == 1; }));
    return 0;
}

// A process and its sentinel are killed together, so that nobody tells of it: the next that connects finds out.
int killed_with_sentinels() {
    std::vector<pid_t> children;
    for (int i = 0; i < 4; ++i) children.push_back(spawn_until_it_speaks("wait"));
    EXPECT(sentinels().size() == 4);
    for (const pid_t sentinel : sentinels()) ::kill(sentinel, SIGKILL);
    EXPECT(soon([] { return sentinels().empty(); }));
    for (const pid_t child : children) ::kill(child, SIGKILL);
    for (const pid_t child : children) status_of(child);
    const auto client = join();
    EXPECT(NEED(client.call<add>(3, 4)) == 7);
    return 0;
}

int wait_forever() {
    const auto client = join();
    say("waiting");
    for (;;) ::pause();
}

// Nothing of the sentinel shows in the process that connects.
int no_child() {
    std::signal(SIGCHLD, [](int) { std::_Exit(9); });
    {
        const auto client = join();
        EXPECT(::waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD);
    }
    EXPECT(soon([] { return sentinels().empty(); }));
    return 0;
}

// The server is killed in the middle of two calls, one of which spins and one of which sleeps.
int lose_server() {
    const auto call = [](const vmrpc::ConnectOptions& options) {
        const auto client = join(options);
        say("calling");
        const auto result = client.call<ivshmem_test::sleep_ms>(60'000U);
        EXPECT(!result && result.error().status == VMRPC_PEER_LOST);
        say("lost");
        EXPECT(!client.call<add>(1, 1));
    };
    std::thread spinning([&] { call({.spin = std::chrono::nanoseconds(VMRPC_SPIN_ALWAYS)}); });
    std::thread sleeping([&] { call({.spin = std::chrono::nanoseconds(VMRPC_SPIN_NEVER)}); });
    spinning.join();
    sleeping.join();
    expect_error(vmrpc::Client::connect(address), VMRPC_NO_SERVER, "has ended", __LINE__);
    say("no server");
    return 0;
}

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
int isolation() {
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

// The server is killed; another one serves the same memory: who connects anew goes on, with no restart of the VM.
int outlive_server() {
    auto client = join();
    EXPECT(NEED(client.call<add>(1, 2)) == 3);
    say("calling");
    const auto result = client.call<ivshmem_test::sleep_ms>(60'000U);
    EXPECT(!result && result.error().status == VMRPC_PEER_LOST);
    say("lost");
    auto again = vmrpc::Client::connect(address);
    for (const auto start = Clock::now(); !again && ms_since(start) < 60'000; again = vmrpc::Client::connect(address))
        std::this_thread::sleep_for(milliseconds(50));
    client = need(std::move(again), __LINE__);
    for (std::int64_t i = 0; i < 1'000; ++i) EXPECT(NEED(client.call<add>(i, i)) == 2 * i);
    say("served again");
    return 0;
}

// The VM is here before its service is.
int wait_for_server() {
    expect_error(vmrpc::Client::connect(address), VMRPC_NO_SERVER, "start the service on the host", __LINE__);
    say("no server yet");
    auto client = vmrpc::Client::connect(address);
    for (const auto start = Clock::now(); !client && ms_since(start) < 60'000; client = vmrpc::Client::connect(address))
        std::this_thread::sleep_for(milliseconds(50));
    EXPECT(NEED(need(std::move(client), __LINE__).call<add>(1, 2)) == 3);
    return 0;
}

// Root was needed once, to give the device to a user.
int as_user() {
    EXPECT(::chown("/dev/dax0.0", 1000, 1000) == 0);
    EXPECT(::setgid(1000) == 0 && ::setuid(1000) == 0);
    const auto client = join();
    for (std::int64_t i = 0; i < 100; ++i) EXPECT(NEED(client.call<add>(i, i)) == 2 * i);
    return 0;
}

// Without the right to know where its pages are a process cannot lend them, and is told so; others go on.
int ram_as_user() {
    const auto client = join();
    const pid_t child = ::fork();
    if (child == 0) {
        EXPECT(::setgid(1000) == 0 && ::setuid(1000) == 0);
        expect_error(vmrpc::Client::connect(address), VMRPC_NOT_PERMITTED, "CAP_SYS_ADMIN", __LINE__);
        expect_error(vmrpc::Client::connect(address), VMRPC_NOT_PERMITTED, "take memory=dax", __LINE__);
        std::_Exit(0);
    }
    EXPECT(status_of(child) == 0);
    EXPECT(NEED(client.call<add>(3, 4)) == 7);
    return 0;
}

/// What the guest's system has left, in bytes.
std::uint64_t free_bytes() {
    std::ifstream in("/proc/meminfo");
    for (std::string line; std::getline(in, line);)
        if (line.starts_with("MemAvailable:")) return std::strtoull(line.c_str() + 13, nullptr, 10) * 1024;
    return 0;
}

// Pages that were lent are the guest's again when their process has been killed, though not before the server's call
// in them has ended.
int ram_comes_back() {
    constexpr std::uint64_t half = std::uint64_t{32} << 20;  // of what a process lends
    const auto client = join();
    const std::uint64_t before = free_bytes();
    for (int i = 0; i < 3; ++i) {
        const auto closed = NEED(client.call<closed_count>());
        const pid_t child = spawn_until_it_speaks("hang");
        std::this_thread::sleep_for(milliseconds(50));  // now the server executes its call
        EXPECT(free_bytes() + half < before);
        ::kill(child, SIGKILL);
        status_of(child);
        EXPECT(sentinels().size() == 2);
        EXPECT(free_bytes() + half < before);  // its call runs for 300 ms
        EXPECT(soon([&] { return NEED(client.call<closed_count>()) > closed; }));
        EXPECT(soon([] { return sentinels().size() == 1; }));
        EXPECT(soon([&] { return free_bytes() + half > before; }));
    }
    return 0;
}

// Server and sentinel tell of their end in this process's own pages.
int ram_lose_server() {
    const auto client = join();
    say("calling");
    const auto result = client.call<ivshmem_test::sleep_ms>(60'000U);
    EXPECT(!result && result.error().status == VMRPC_PEER_LOST);
    EXPECT(!client.call<add>(1, 1));
    say("lost");
    return 0;
}

int ram_sentinels_end() {
    for (int i = 0; i < 5; ++i) join();
    EXPECT(soon([] { return sentinels().empty(); }));
    return 0;
}

// More than the service takes, and a file that is not this VM's RAM.
int ram_too_much() {
    expect_error(vmrpc::Client::connect(address, {.heap_bytes = std::uint64_t{200} << 20}), VMRPC_OUT_OF_RESOURCES,
                 "is more than the", __LINE__);
    const auto client = join({.heap_bytes = std::uint64_t{20} << 20});
    EXPECT(NEED(client.call<add>(3, 4)) == 7);
    NEED(client.heap().allocate(std::uint64_t{8} << 20));
    return 0;
}

int ram_is_not_there() {
    expect_error(vmrpc::Client::connect(address), VMRPC_NOT_VMRPC, "what the guest has written is not in", __LINE__);
    EXPECT(soon([] { return sentinels().empty(); }));
    return 0;
}

// As many connections opened and closed, to be counted by the test.
int visit() {
    for (int i = 0; i < 3; ++i) join();
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::map<std::string, int (*)()> known{
        {"values", values},
        {"spans", spans},
        {"pointers", pointers},
        {"unequal", unequal},
        {"twenty", twenty},
        {"two", two},
        {"spins", spins},
        {"full", full},
        {"hang", hang},
        {"killed", killed},
        {"sparse", sparse},
        {"killed-with-sentinels", killed_with_sentinels},
        {"wait", wait_forever},
        {"no-child", no_child},
        {"lose-server", lose_server},
        {"isolation", isolation},
        {"visit", visit},
        {"busy", busy},
        {"two-busy", two_busy},
        {"as-user", as_user},
        {"outlive-server", outlive_server},
        {"ram-as-user", ram_as_user},
        {"ram-comes-back", ram_comes_back},
        {"ram-lose-server", ram_lose_server},
        {"ram-sentinels-end", ram_sentinels_end},
        {"ram-too-much", ram_too_much},
        {"ram-is-not-there", ram_is_not_there},
        {"wait-for-server", wait_for_server},
    };
    if (argc > 2) address = argv[2];
    const auto what = argc > 1 ? known.find(argv[1]) : known.end();
    if (what != known.end()) return what->second();
    return argc > 1 ? bad_input(argv[1]) : 99;
}
