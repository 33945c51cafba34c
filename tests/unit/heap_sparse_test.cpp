// A connection's heap takes memory as it is used, and returns it: by the blocks of the connection's memfd.
#include "capi_server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace vmrpc::test {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

/// What the system has set aside for the segments of this process, each counted once.
std::uint64_t segment_bytes() {
    std::uint64_t bytes = 0;
    std::vector<ino_t> seen;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code gone;
        const auto target = std::filesystem::read_symlink(entry.path(), gone).string();
        struct stat status {};
        if (gone || target.find("memfd:vmrpc") == std::string::npos || ::stat(entry.path().c_str(), &status) != 0)
            continue;
        if (std::find(seen.begin(), seen.end(), status.st_ino) != seen.end()) continue;
        seen.push_back(status.st_ino);
        bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    return bytes;
}

/// Options, all default but for what `change` sets.
template <class Change>
vmrpc_connect_options wishing(Change change) {
    vmrpc_connect_options options{};
    change(options);
    return options;
}

/// Whether it comes below that many bytes within some seconds.
bool falls_below(std::uint64_t bytes, std::chrono::seconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (std::chrono::steady_clock::now() < end) {
        if (segment_bytes() < bytes) return true;
        std::this_thread::sleep_for(20ms);
    }
    return segment_bytes() < bytes;
}

TEST(HeapSparse, AnUntouchedConnectionTakesLittle) {
    const CapiServer server;
    const CapiClient client(server);
    EXPECT_LT(segment_bytes(), 256 * 1024U);
    EXPECT_EQ(client.stats().committed_bytes, 0U);
}

TEST(HeapSparse, AGigabyteThatIsFreedGoesBackToTheSystem) {
    const CapiServer server(1);
    const CapiClient client(server, wishing([](auto& options) {
                                options.heap_bytes = 4 * kGiB;
                                options.trust_peer = 1;
                            }));
    std::vector<void*> blocks;
    for (std::uint64_t bytes = 0; bytes < kGiB; bytes += 16 * kMiB) {
        blocks.push_back(vmrpc_malloc(client.connection, 16 * kMiB, nullptr));
        ASSERT_NE(blocks.back(), nullptr) << VMRPC_LAST_ERROR_TEXT();
        std::memset(blocks.back(), 1, 4096);
    }
    EXPECT_GE(segment_bytes(), kGiB);
    EXPECT_GE(client.stats().committed_bytes, kGiB);
    for (void* block : blocks) EXPECT_EQ(vmrpc_free(client.connection, block), VMRPC_OK);
    EXPECT_TRUE(falls_below(8 * kMiB, 3s)) << segment_bytes();
    EXPECT_LT(client.stats().committed_bytes, 8 * kMiB);
}

TEST(HeapSparse, SmallBlocksGoBackToo) {
    const CapiServer server;
    const CapiClient client(server);
    std::vector<void*> blocks(200'000);
    for (void*& block : blocks) ASSERT_NE(block = vmrpc_malloc(client.connection, 1'000, nullptr), nullptr);
    EXPECT_GE(segment_bytes(), 200 * kMiB / 2);
    for (void* block : blocks) EXPECT_EQ(vmrpc_free(client.connection, block), VMRPC_OK);
    EXPECT_TRUE(falls_below(8 * kMiB, 3s)) << segment_bytes();
}

TEST(HeapSparse, TrimDoesNotWait) {
    const CapiServer server;
    const CapiClient client(server, wishing([](auto& options) { options.trim_after_ns = -1; }));
    void* block = vmrpc_malloc(client.connection, 64 * kMiB, nullptr);
    ASSERT_NE(block, nullptr);
    ASSERT_EQ(vmrpc_free(client.connection, block), VMRPC_OK);
    EXPECT_GE(segment_bytes(), 64 * kMiB);
    ASSERT_EQ(VMRPC_TRIM(client.connection), VMRPC_OK);
    EXPECT_LT(segment_bytes(), kMiB);
    EXPECT_EQ(client.stats().committed_bytes, 0U);
    EXPECT_EQ(VMRPC_TRIM(nullptr), VMRPC_BAD_ARGUMENT);
}

TEST(HeapSparse, MoreThanTheMachineHasCanBeReserved) {
    vmrpc_serve_options options{};
    options.struct_bytes = sizeof options;
    options.heap_bytes = 64 * kGiB;
    const TempFolder folder;
    vmrpc_server* server = nullptr;
    ASSERT_EQ(vmrpc_serve(folder.address().c_str(), &options, &server), VMRPC_OK) << VMRPC_LAST_ERROR_TEXT();
    std::thread thread([server] { EXPECT_EQ(VMRPC_RUN(server), VMRPC_OK); });
    vmrpc_connect_options wishes{};
    wishes.struct_bytes = sizeof wishes;
    wishes.heap_bytes = 64 * kGiB;
    vmrpc_connection* connection = nullptr;
    EXPECT_EQ(vmrpc_connect(folder.address().c_str(), &wishes, &connection), VMRPC_OK) << VMRPC_LAST_ERROR_TEXT();
    EXPECT_LT(segment_bytes(), kMiB);
    EXPECT_EQ(vmrpc_offset(connection, VMRPC_DEFAULT_HEAP), 0);
    vmrpc_heap heap = 0;
    vmrpc_heap_options most{};
    most.struct_bytes = sizeof most;
    most.bytes = 31 * kGiB;
    most.within = 1;
    EXPECT_EQ(vmrpc_heap_setup(connection, &most, &heap), VMRPC_OK) << VMRPC_LAST_ERROR_TEXT();
    // Behind 31 GiB of address space: the far end can be used, and what lies before it takes nothing.
    void* block = vmrpc_malloc(connection, 512 * kMiB, nullptr);
    ASSERT_NE(block, nullptr) << VMRPC_LAST_ERROR_TEXT();
    std::memset(block, 7, 512 * kMiB);
    EXPECT_LT(segment_bytes(), 520 * kMiB);
    EXPECT_EQ(vmrpc_free(connection, block), VMRPC_OK);
    EXPECT_EQ(vmrpc_close(connection), VMRPC_OK);
    VMRPC_STOP(server);
    thread.join();
    EXPECT_EQ(vmrpc_close(server), VMRPC_OK);
}

TEST(HeapSparse, TheCommitLimitIsAnErrorOfItsOwn) {
    const CapiServer server;
    const CapiClient client(server, wishing([](auto& options) { options.commit_limit_bytes = 16 * kMiB; }));
    void* block = vmrpc_malloc(client.connection, 12 * kMiB, nullptr);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(vmrpc_malloc(client.connection, 12 * kMiB, nullptr), nullptr);
    EXPECT_EQ(VMRPC_LAST_STATUS(), VMRPC_HEAP_FULL);
    EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr("commit limit of 16777216 bytes"));
    EXPECT_EQ(vmrpc_free(client.connection, block), VMRPC_OK);
    EXPECT_NE(block = vmrpc_malloc(client.connection, 12 * kMiB, nullptr), nullptr);
    EXPECT_EQ(vmrpc_free(client.connection, block), VMRPC_OK);
}

TEST(HeapSparse, ConnectionsMayEndWhileMemoryIsGivenBack) {
    const CapiServer server;
    for (int i = 0; i < 50; ++i) {
        const CapiClient client(server, wishing([](auto& options) { options.trim_after_ns = 100'000; }));
        for (int block = 0; block < 20; ++block)
            EXPECT_EQ(vmrpc_free(client.connection, vmrpc_malloc(client.connection, 4 * kMiB, nullptr)), VMRPC_OK);
    }
}

}  // namespace
}  // namespace vmrpc::test
