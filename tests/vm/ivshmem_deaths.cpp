// For ivshmem_client: processes and servers that end, and what the others see of it.
#include "guest_children.hpp"
#include "ivshmem_guest.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace ivshmem_test {
namespace {

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

}  // namespace

int deaths(const std::string& what) {
    const std::map<std::string, int (*)()> known{
        {"killed", killed},
        {"killed-with-sentinels", killed_with_sentinels},
        {"wait", wait_forever},
        {"no-child", no_child},
        {"lose-server", lose_server},
        {"outlive-server", outlive_server},
        {"wait-for-server", wait_for_server},
    };
    const auto found = known.find(what);
    return found == known.end() ? 99 : found->second();
}

}  // namespace ivshmem_test
