// local: addresses that cannot be, and what a server may find at its own.
#include "local_bad_input.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <fstream>
#include <thread>
#include <vector>

namespace vmrpc::transport::conformance {
namespace {

TEST(LocalAddress, UnknownSchemeNamesTheKnownOnes) {
    for (const char* address : {"", "local", "/run/x.sock", "tcp:host:1", ":x", "LOCAL:/x"}) {
        EXPECT_EQ(connect_error(address).status, VMRPC_BAD_ADDRESS) << address;
        EXPECT_THAT(listen_error(address).text, HasSubstr("local:"));
    }
}

TEST(LocalAddress, EmptyPath) {
    EXPECT_EQ(connect_error("local:").status, VMRPC_BAD_ADDRESS);
    EXPECT_EQ(listen_error("local:").status, VMRPC_BAD_ADDRESS);
}

TEST(LocalAddress, TooLongPath) {
    const std::string address = "local:/tmp/" + std::string(200, 'x');
    EXPECT_EQ(connect_error(address).status, VMRPC_BAD_ADDRESS);
    EXPECT_EQ(listen_error(address).status, VMRPC_BAD_ADDRESS);
    EXPECT_THAT(listen_error(address).text, HasSubstr("205 bytes, a socket's path at most 107"));
}

TEST(LocalAddress, PathWithNul) {
    const std::string address("local:/tmp/a\0b", 14);
    EXPECT_EQ(connect_error(address).status, VMRPC_BAD_ADDRESS);
    EXPECT_EQ(listen_error(address).status, VMRPC_BAD_ADDRESS);
}

TEST(LocalAddress, PathOfAFolder) {
    const LocalHarness harness;
    EXPECT_EQ(listen_error("local:" + harness.folder() + "/").status, VMRPC_BAD_ADDRESS);
    EXPECT_EQ(listen_error("local:" + harness.folder()).status, VMRPC_ADDRESS_IN_USE);
    EXPECT_EQ(connect_error("local:" + harness.folder()).status, VMRPC_NOT_VMRPC);
}

TEST(LocalAddress, MissingFolder) {
    const LocalHarness harness;
    const std::string folder = harness.folder() + "/missing/";
    EXPECT_EQ(listen_error("local:" + folder + "x").status, VMRPC_BAD_ADDRESS);
    EXPECT_THAT(listen_error("local:" + folder + "x").text, HasSubstr(folder));
    EXPECT_EQ(connect_error("local:" + folder + "x").status, VMRPC_NO_SERVER);
}

TEST(LocalAddress, RelativePathSurvivesAChangeOfFolder) {
    const LocalHarness harness;
    const std::string before = std::filesystem::current_path();
    std::filesystem::current_path(harness.folder());
    ServerEnd server;
    auto listener = listen({"local:0.sock", {}, 0}, server);
    ASSERT_TRUE(listener) << listener.error().text;
    EXPECT_TRUE(connects("local:0.sock"));
    std::filesystem::current_path(before);
    EXPECT_TRUE(connects(harness.address()));
    listener->reset();
    EXPECT_FALSE(std::filesystem::exists(harness.path()));
}

TEST(LocalListen, SecondServer) {
    const LocalHarness harness;
    ServerEnd server;
    auto listener = listen({harness.address(), {}, 0}, server);
    ASSERT_TRUE(listener);
    const auto error = listen_error(harness.address());
    EXPECT_EQ(error.status, VMRPC_ADDRESS_IN_USE);
    EXPECT_THAT(error.text, HasSubstr(harness.address()));
    EXPECT_TRUE(connects(harness.address()));
    listener->reset();
    EXPECT_EQ(listen_error(harness.address()).status, VMRPC_OK);
}

TEST(LocalListen, ServerOfAnotherKindIsAlive) {
    for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
        const LocalHarness harness;
        const auto socket = bound_socket(harness.path(), type);
        EXPECT_EQ(listen_error(harness.address()).status, VMRPC_ADDRESS_IN_USE);
        EXPECT_TRUE(std::filesystem::exists(harness.path()));
    }
}

TEST(LocalListen, StaleSocketFileIsReplaced) {
    for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
        const LocalHarness harness;
        bound_socket(harness.path(), type).reset();
        ASSERT_TRUE(std::filesystem::exists(harness.path()));
        ServerEnd server;
        const auto listener = listen({harness.address(), {}, 0}, server);
        ASSERT_TRUE(listener) << listener.error().text;
        EXPECT_TRUE(connects(harness.address()));
    }
}

TEST(LocalListen, FileThatIsNoSocketIsLeftAlone) {
    const LocalHarness harness;
    std::ofstream(harness.path()) << "precious";
    const auto error = listen_error(harness.address());
    EXPECT_EQ(error.status, VMRPC_ADDRESS_IN_USE);
    EXPECT_THAT(error.text, HasSubstr("no socket"));
    std::string text;
    std::ifstream(harness.path()) >> text;
    EXPECT_EQ(text, "precious");
}

TEST(LocalListen, LinkToAFileIsLeftAlone) {
    const LocalHarness harness;
    std::filesystem::create_symlink(harness.path(1), harness.path());
    EXPECT_EQ(listen_error(harness.address()).status, VMRPC_ADDRESS_IN_USE);
    EXPECT_TRUE(std::filesystem::is_symlink(harness.path()));
}

TEST(LocalListen, SocketFileIsRemovedInTheEnd) {
    const LocalHarness harness;
    ServerEnd server;
    {
        const auto listener = listen({harness.address(), {}, 0}, server);
        EXPECT_TRUE(std::filesystem::exists(harness.path()));
    }
    EXPECT_FALSE(std::filesystem::exists(harness.path()));
}

TEST(LocalListen, FileThatReplacedTheSocketIsLeftAlone) {
    const LocalHarness harness;
    ServerEnd server;
    {
        const auto listener = listen({harness.address(), {}, 0}, server);
        std::filesystem::remove(harness.path());
        std::ofstream(harness.path()) << "other";
    }
    EXPECT_TRUE(std::filesystem::exists(harness.path()));
}

TEST(LocalListen, ServersThatStartAtOnceExcludeEachOther) {
    const LocalHarness harness;
    for (int i = 0; i < 100; ++i) {
        bound_socket(harness.path(), SOCK_SEQPACKET).reset();  // stale, so that each wants to replace it
        std::array<ServerEnd, 4> servers;
        std::array<std::unique_ptr<Listener>, 4> listeners;
        std::vector<std::thread> threads;
        std::atomic<int> ready{0};
        for (std::size_t t = 0; t < servers.size(); ++t) {
            threads.emplace_back([&, t] {
                ++ready;
                while (ready < 4) std::this_thread::yield();
                auto listener = listen({harness.address(), {}, 0}, servers[t]);
                if (listener)
                    listeners[t] = std::move(*listener);
                else
                    EXPECT_EQ(listener.error().status, VMRPC_ADDRESS_IN_USE) << listener.error().text;
            });
        }
        for (std::thread& thread : threads) thread.join();
        EXPECT_EQ(std::count(listeners.begin(), listeners.end(), nullptr), 3);
        EXPECT_TRUE(connects(harness.address()));
    }
}

TEST(LocalListen, FolderThatAnotherProgramHasLocked) {
    const LocalHarness harness;
    const base::Fd folder(::open(harness.folder().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_EQ(::flock(folder.get(), LOCK_EX), 0);
    const auto error = listen_error(harness.address());
    EXPECT_EQ(error.status, VMRPC_ADDRESS_IN_USE);
    EXPECT_THAT(error.text, HasSubstr("lock"));
}

}  // namespace
}  // namespace vmrpc::transport::conformance
