// What the ivshmem tests run in a guest: `ivshmem_client WHAT [ARG]`. Exits with 0 if all was as it should be, else
// says what was not.
#include "guest_children.hpp"
#include "ivshmem_guest.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
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

// Root was needed once, to give the device to a user.
int as_user() {
    EXPECT(::chown("/dev/dax0.0", 1000, 1000) == 0);
    EXPECT(::setgid(1000) == 0 && ::setuid(1000) == 0);
    const auto client = join();
    for (std::int64_t i = 0; i < 100; ++i) EXPECT(NEED(client.call<add>(i, i)) == 2 * i);
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
        {"values", values}, {"spans", spans},   {"pointers", pointers}, {"unequal", unequal},
        {"twenty", twenty}, {"two", two},       {"spins", spins},       {"full", full},
        {"hang", hang},     {"sparse", sparse}, {"visit", visit},       {"as-user", as_user},
    };
    if (argc > 2) address = argv[2];
    if (argc < 2) return 99;
    if (const auto what = known.find(argv[1]); what != known.end()) return what->second();
    for (const auto subject : {deaths, isolation, own_memory})
        if (const int status = subject(argv[1]); status != 99) return status;
    return bad_input(argv[1]);
}
