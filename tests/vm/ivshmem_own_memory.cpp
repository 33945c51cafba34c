// For ivshmem_client: memory=ram, pages that the process lends.
#include "guest_children.hpp"
#include "ivshmem_guest.hpp"

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <thread>

namespace ivshmem_test {
namespace {

// Without the right to know where its pages are a process cannot lend them, and is told so; others go on.
int as_user() {
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
int comes_back() {
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
int lose_server() {
    const auto client = join();
    say("calling");
    const auto result = client.call<ivshmem_test::sleep_ms>(60'000U);
    EXPECT(!result && result.error().status == VMRPC_PEER_LOST);
    EXPECT(!client.call<add>(1, 1));
    say("lost");
    return 0;
}

int sentinels_end() {
    for (int i = 0; i < 5; ++i) join();
    EXPECT(soon([] { return sentinels().empty(); }));
    return 0;
}

// More than the service takes, and a file that is not this VM's RAM.
int too_much() {
    expect_error(vmrpc::Client::connect(address, {.heap_bytes = std::uint64_t{200} << 20}), VMRPC_OUT_OF_RESOURCES,
                 "is more than the", __LINE__);
    const auto client = join({.heap_bytes = std::uint64_t{20} << 20});
    EXPECT(NEED(client.call<add>(3, 4)) == 7);
    NEED(client.heap().allocate(std::uint64_t{8} << 20));
    return 0;
}

int is_not_there() {
    expect_error(vmrpc::Client::connect(address), VMRPC_NOT_VMRPC, "what the guest has written is not in", __LINE__);
    EXPECT(soon([] { return sentinels().empty(); }));
    return 0;
}

}  // namespace

int own_memory(const std::string& what) {
    const std::map<std::string, int (*)()> known{
        {"ram-as-user", as_user},         {"ram-comes-back", comes_back},
        {"ram-lose-server", lose_server}, {"ram-sentinels-end", sentinels_end},
        {"ram-too-much", too_much},       {"ram-is-not-there", is_not_there},
    };
    const auto found = known.find(what);
    return found == known.end() ? 99 : found->second();
}

}  // namespace ivshmem_test
