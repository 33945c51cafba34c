// A process dies by SIGKILL in the middle of a call: the other side knows within a second, and nothing of it is left.
#include "conformance/fixture.hpp"
#include "process/program.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>

namespace conformance {
namespace {

using process::Program;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// What this process has mapped and open that is vmrpc's.
std::size_t mappings() {
    std::ifstream maps("/proc/self/maps");
    std::size_t count = 0;
    for (std::string line; std::getline(maps, line);) count += line.find("memfd:vmrpc") != std::string::npos ? 1 : 0;
    return count;
}
std::size_t descriptors() {
    const std::filesystem::directory_iterator entries("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

class Death : public Calls {};

TEST_F(Death, OfTheClientLeavesTheServerServingOthers) {
    ServerThread server;
    const auto other = vmrpc::Client::connect(server.address()).value();
    Program victim({VMRPC_TEST_VICTIM, server.address()});
    ASSERT_EQ(victim.line(), "calling");
    std::this_thread::sleep_for(milliseconds(10));  // now the server executes its call
    victim.kill_and_wait();
    EXPECT_EQ(other.call<add>(1, 2).value(), 3);
}

TEST_F(Death, OfClientsWhoseFunctionsRunOnWorkers) {
    std::atomic<int> closed{0};
    ServerThread server({.on_close = [&](const vmrpc::Caller&) { ++closed; }});
    const auto other = vmrpc::Client::connect(server.address()).value();
    ASSERT_TRUE(other.call<null>());
    const std::size_t mappings_before = mappings();
    const std::size_t descriptors_before = descriptors();
    for (int i = 0; i < 20; ++i) {
        Program victim({VMRPC_TEST_VICTIM, server.address(), "worker"});
        ASSERT_EQ(victim.line(), "calling");
        EXPECT_EQ(other.call<add_on_worker>(i, 2).value(), i + 2) << "on the other worker";
        victim.kill_and_wait();
        EXPECT_EQ(other.call<add>(i, 1).value(), i + 1);
        EXPECT_TRUE(soon([&] { return closed == i + 1; })) << "the function saw it, and returned";
    }
    EXPECT_TRUE(soon([&] { return mappings() == mappings_before; })) << mappings() << " were " << mappings_before;
    EXPECT_TRUE(soon([&] { return descriptors() == descriptors_before; }))
        << descriptors() << " were " << descriptors_before;
}

TEST_F(Death, OfTwoHundredClientsLeavesNothingBehind) {
    ServerThread server;
    const auto other = vmrpc::Client::connect(server.address()).value();
    ASSERT_TRUE(other.call<null>());
    const std::size_t mappings_before = mappings();
    const std::size_t descriptors_before = descriptors();
    for (int i = 0; i < 200; ++i) {
        Program victim({VMRPC_TEST_VICTIM, server.address()});
        if (i % 2 == 0) {
            ASSERT_EQ(victim.line(), "calling");
            std::this_thread::sleep_for(milliseconds(5));  // now the server executes its call
        } else {
            std::this_thread::sleep_for(milliseconds(i % 8));  // somewhere in exec, hand-shake, or its first calls
        }
        victim.kill_and_wait();
    }
    EXPECT_TRUE(soon([&] { return mappings() == mappings_before; })) << mappings() << " were " << mappings_before;
    EXPECT_TRUE(soon([&] { return descriptors() == descriptors_before; }))
        << descriptors() << " were " << descriptors_before;
    EXPECT_EQ(other.call<add>(1, 2).value(), 3);
}

TEST_F(Death, OfTheServerEndsACallWithinASecond) {
    TemporaryFolder folder;
    const std::string address = "local:" + (folder.path() / "server.sock").string();
    Program server({VMRPC_TEST_SERVER, address});
    ASSERT_EQ(server.line(), "ready");
    const auto client = vmrpc::Client::connect(address).value();
    ASSERT_TRUE(client.require<sleep_ms>());
    const auto heap = client.heap().set_up(1 << 20).value();
    std::thread killer([&] {
        std::this_thread::sleep_for(milliseconds(50));
        server.kill_and_wait();
    });
    const auto start = steady_clock::now();
    const auto result = client.call<sleep_ms>(20'000);
    EXPECT_LT(steady_clock::now() - start, milliseconds(10'000)) << "long before the function would have returned";
    killer.join();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().status, VMRPC_PEER_LOST);
    EXPECT_EQ(result.error().remedy(), vmrpc::Remedy::kReconnect);
    EXPECT_EQ(client.call<null>().error().status, VMRPC_PEER_LOST);
    EXPECT_EQ(client.heap().make_array<int>(1).error().status, VMRPC_PEER_LOST);
    EXPECT_EQ(client.heap().set_up(1 << 20).error().status, VMRPC_PEER_LOST);
    EXPECT_TRUE(heap.destroy()) << "it is this side's to end";
}

TEST_F(Death, OfTheServerEndsASpinningCallToo) {
    TemporaryFolder folder;
    const std::string address = "local:" + (folder.path() / "server.sock").string();
    Program server({VMRPC_TEST_SERVER, address});
    ASSERT_EQ(server.line(), "ready");
    const auto client = vmrpc::Client::connect(address, {.spin = std::chrono::nanoseconds(VMRPC_SPIN_ALWAYS)}).value();
    ASSERT_TRUE(client.require<sleep_ms>());
    std::thread killer([&] {
        std::this_thread::sleep_for(milliseconds(50));
        server.kill_and_wait();
    });
    EXPECT_EQ(client.call<sleep_ms>(20'000).error().status, VMRPC_PEER_LOST);
    killer.join();
}

TEST_F(Death, OfTheServerEndsAllCallsInFlight) {
    TemporaryFolder folder;
    const std::string address = "local:" + (folder.path() / "server.sock").string();
    Program server({VMRPC_TEST_SERVER, address});
    ASSERT_EQ(server.line(), "ready");
    const auto client = vmrpc::Client::connect(address).value();
    ASSERT_TRUE((client.require<sleep_ms, null, sum, add>()));
    std::vector<vmrpc::Future<void>> calls;
    calls.push_back(client.async<sleep_ms>(1'000'000));
    for (int i = 0; i < 40; ++i) calls.push_back(client.async<null>());
    auto with_copy = client.async<sum>(std::vector<double>(100, 1.0));
    vmrpc::Result<std::int64_t> told;
    client.async<add>(1, 2).then([&](auto result) { told = std::move(result); });
    std::thread killer([&] { server.kill_and_wait(); });
    for (auto& call : calls) EXPECT_EQ(call.get().error().status, VMRPC_PEER_LOST);
    EXPECT_EQ(with_copy.get().error().status, VMRPC_PEER_LOST);
    EXPECT_EQ(client.poll(std::chrono::minutes(1)).value(), 1U);
    EXPECT_EQ(told.error().status, VMRPC_PEER_LOST);
    EXPECT_EQ(client.poll(std::chrono::minutes(1)).error().status, VMRPC_PEER_LOST);
    EXPECT_EQ(client.async<null>().get().error().status, VMRPC_PEER_LOST);
    EXPECT_EQ(client.post<null>().error().status, VMRPC_PEER_LOST);
    killer.join();
}

TEST_F(Death, AServerStartsAgainWhereOneWasKilled) {
    TemporaryFolder folder;
    const std::string address = "local:" + (folder.path() / "server.sock").string();
    {
        Program server({VMRPC_TEST_SERVER, address});
        ASSERT_EQ(server.line(), "ready");
        server.kill_and_wait();
        EXPECT_EQ(vmrpc::Client::connect(address).error().status, VMRPC_NO_SERVER);
    }
    Program server({VMRPC_TEST_SERVER, address});
    ASSERT_EQ(server.line(), "ready");
    EXPECT_EQ(vmrpc::Client::connect(address).value().call<add>(1, 2).value(), 3);
}

TEST_F(Death, ClosingTheServerEndsItsClients) {
    std::optional<ServerThread> server(std::in_place);
    const auto client = vmrpc::Client::connect(server->address()).value();
    ASSERT_TRUE(client.call<null>());
    server.reset();
    EXPECT_TRUE(soon([&] { return client.call_within<null>(milliseconds(100)).error().status == VMRPC_PEER_LOST; }));
}

TEST_F(Death, AForkedChildCannotUseItsParentsConnection) {
    const auto client = connect();
    ASSERT_TRUE(client.call<null>());
    const pid_t child = ::fork();
    if (child == 0) {
        const auto result = client.call<null>();
        const auto block = client.heap().make_array<int>(1);
        ::_exit(!result && result.error().status == VMRPC_CLOSED && !block ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    EXPECT_TRUE(client.call<null>());
}

TEST_F(Death, AForkedChildsCopiesOfFuturesAreClosed) {
    const auto client = connect();
    auto answered = client.async<add>(1, 2);
    auto copied = client.async<sum>(std::vector<double>(100, 1.0));
    ASSERT_TRUE(copied.wait_for(std::chrono::minutes(1)));
    const pid_t child = ::fork();
    if (child == 0) {
        // Not in the parent's memory, which is not mapped here; a wild access would end the child by a signal.
        int wrong = answered.ready() ? 0 : 1;
        wrong += answered.cancel().error().status == VMRPC_CLOSED ? 0 : 2;
        wrong += answered.get().error().status == VMRPC_CLOSED ? 0 : 4;
        copied = {};
        wrong += client.async<add>(1, 2).get().error().status == VMRPC_CLOSED ? 0 : 8;
        wrong += client.post<null>().error().status == VMRPC_CLOSED ? 0 : 16;
        wrong += client.poll().error().status == VMRPC_CLOSED ? 0 : 32;
        ::_exit(wrong);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0) << "the sum of what went wrong";
    EXPECT_EQ(answered.get().value(), 3);
    EXPECT_DOUBLE_EQ(copied.get().value(), 100);
}

}  // namespace
}  // namespace conformance
