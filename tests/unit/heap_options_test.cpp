// prefault, lock, huge_pages: what they do, and what they say where they cannot.
#include "capi_server.hpp"
#include "conformance/ends.hpp"
#include "system_setting.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

namespace vmrpc::test {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

template <class Change>
vmrpc_connect_options wishing(Change change) {
    vmrpc_connect_options options{};
    options.struct_bytes = sizeof options;
    options.heap_bytes = 64 * kMiB;
    change(options);
    return options;
}

std::uint64_t locked_bytes() {
    return number_in("/proc/self/status", "VmLck:") * 1024;
}

std::int64_t page_faults() {
    rusage usage{};
    EXPECT_EQ(::getrusage(RUSAGE_THREAD, &usage), 0);
    return usage.ru_minflt + usage.ru_majflt;
}

/// Without the capability to lock, and with a limit, on this thread, until it is destroyed.
class Unprivileged {
  public:
    explicit Unprivileged(rlim_t locked_bytes) {
        EXPECT_EQ(::getrlimit(RLIMIT_MEMLOCK, &limit_), 0);
        const rlimit low{.rlim_cur = locked_bytes, .rlim_max = limit_.rlim_max};
        EXPECT_EQ(::setrlimit(RLIMIT_MEMLOCK, &low), 0);
        EXPECT_EQ(::syscall(SYS_capget, &head_, sets_.data()), 0);
        auto less = sets_;
        less[0].effective &= ~(1U << CAP_IPC_LOCK);
        EXPECT_EQ(::syscall(SYS_capset, &head_, less.data()), 0);
    }
    Unprivileged(const Unprivileged&) = delete;
    Unprivileged& operator=(const Unprivileged&) = delete;
    ~Unprivileged() {
        EXPECT_EQ(::syscall(SYS_capset, &head_, sets_.data()), 0);
        EXPECT_EQ(::setrlimit(RLIMIT_MEMLOCK, &limit_), 0);
    }

  private:
    rlimit limit_{};
    __user_cap_header_struct head_{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, 2> sets_{};
};

void expect_refused(const CapiServer& server, const vmrpc_connect_options& options, vmrpc_status status,
                    const std::string& text) {
    vmrpc_connection* connection = nullptr;
    EXPECT_EQ(vmrpc_connect(server.address().c_str(), &options, &connection), status) << VMRPC_LAST_ERROR_TEXT();
    EXPECT_EQ(connection, nullptr);
    EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr(text));
    EXPECT_EQ(vmrpc_close(connection), VMRPC_OK);
}

TEST(HeapOptions, APrefaultedHeapIsTouchedWithoutTheSystem) {
    const CapiServer server;
    const CapiClient client(server, wishing([](auto& options) { options.prefault = 1; }));
    EXPECT_EQ(client.stats().committed_bytes, 32 * kMiB);
    auto* block = static_cast<char*>(vmrpc_malloc(client.connection, 31 * kMiB, nullptr));
    ASSERT_NE(block, nullptr);
    const std::int64_t before = page_faults();
    std::memset(block, 1, 31 * kMiB);
    EXPECT_LT(page_faults() - before, 2'000);  // of 7936 pages; a sanitizer has a shadow of an eighth of them
    ASSERT_EQ(vmrpc_free(client.connection, block), VMRPC_OK);
    EXPECT_EQ(VMRPC_TRIM(client.connection), VMRPC_OK);
    EXPECT_EQ(client.stats().committed_bytes, 32 * kMiB);
}

TEST(HeapOptions, APrefaultBeyondTheCommitLimitIsRefused) {
    const CapiServer server;
    expect_refused(server, wishing([](auto& options) {
                       options.prefault = 1;
                       options.commit_limit_bytes = 16 * kMiB;
                   }),
                   VMRPC_HEAP_FULL, "commit limit of 16777216 bytes");
}

TEST(HeapOptions, ALockedHeapIsLocked) {
    const CapiServer server;
    const std::uint64_t before = locked_bytes();
    {
        const CapiClient client(server, wishing([](auto& options) { options.lock = 1; }));
        EXPECT_GE(locked_bytes() - before, 64 * kMiB);
        void* block = vmrpc_malloc(client.connection, 8 * kMiB, nullptr);
        ASSERT_NE(block, nullptr);
        std::memset(block, 1, 8 * kMiB);
        EXPECT_EQ(vmrpc_free(client.connection, block), VMRPC_OK);
        EXPECT_EQ(VMRPC_TRIM(client.connection), VMRPC_OK);  // locked memory can go back, too
        EXPECT_EQ(client.stats().committed_bytes, 0U);
    }
}

TEST(HeapOptions, WhatMayNotBeLockedSaysTheLimit) {
    const CapiServer server;
    const Unprivileged here(65'536);
    expect_refused(server, wishing([](auto& options) { options.lock = 1; }), VMRPC_OUT_OF_RESOURCES,
                   "RLIMIT_MEMLOCK is 65536 bytes");
}

vmrpc_heap_options further_heap(int within, int prefault, int lock) {
    vmrpc_heap_options options{};
    options.struct_bytes = sizeof options;
    options.bytes = 8 * kMiB;
    options.within = within;
    options.prefault = prefault;
    options.lock = lock;
    return options;
}

TEST(HeapOptions, AFurtherHeapIsLockedUntilItIsDestroyed) {
    const CapiServer server;
    const CapiClient client(server, wishing([](auto&) {}));
    // What another test has locked goes with its server's end, which may be after that test.
    ASSERT_TRUE(transport::conformance::wait_until([] { return locked_bytes() == 0; })) << locked_bytes();
    const vmrpc_heap_options options = further_heap(0, 0, 1);
    vmrpc_heap heap = VMRPC_DEFAULT_HEAP;
    ASSERT_EQ(vmrpc_heap_setup(client.connection, &options, &heap), VMRPC_OK) << VMRPC_LAST_ERROR_TEXT();
    EXPECT_GE(locked_bytes(), 8 * kMiB);
    vmrpc_malloc_options in_it{};
    in_it.struct_bytes = sizeof in_it;
    in_it.heap = heap;
    void* block = vmrpc_malloc(client.connection, 4 * kMiB, &in_it);
    ASSERT_NE(block, nullptr) << VMRPC_LAST_ERROR_TEXT();
    std::memset(block, 1, 4 * kMiB);
    EXPECT_EQ(vmrpc_free(client.connection, block), VMRPC_OK);
    ASSERT_EQ(vmrpc_heap_destroy(client.connection, heap), VMRPC_OK) << VMRPC_LAST_ERROR_TEXT();
    EXPECT_TRUE(transport::conformance::wait_until([] { return locked_bytes() == 0; }))  // the server's end is told
        << locked_bytes();
}

TEST(HeapOptions, AFurtherHeapThatMayNotBeLockedSaysTheLimit) {
    const CapiServer server;
    const CapiClient client(server, wishing([](auto&) {}));
    vmrpc_heap heap = 12'345;
    {
        const Unprivileged here(65'536);
        const vmrpc_heap_options options = further_heap(0, 0, 1);
        EXPECT_EQ(vmrpc_heap_setup(client.connection, &options, &heap), VMRPC_OUT_OF_RESOURCES);
        EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr("RLIMIT_MEMLOCK is 65536 bytes"));
    }
    EXPECT_EQ(capi_call_all(client.connection), 0) << "the connection is as before: " << VMRPC_LAST_ERROR_TEXT();
    const vmrpc_heap_options plain = further_heap(0, 0, 0);
    ASSERT_EQ(vmrpc_heap_setup(client.connection, &plain, &heap), VMRPC_OK) << VMRPC_LAST_ERROR_TEXT();
    EXPECT_EQ(vmrpc_heap_destroy(client.connection, heap), VMRPC_OK);
}

// It is as much paid for ahead as the heap that it lies in.
TEST(HeapOptions, AHeapWithinAnotherIsNotLockedByItself) {
    const CapiServer server;
    const CapiClient client(server, wishing([](auto&) {}));
    for (const int lock : {0, 1}) {
        const vmrpc_heap_options options = further_heap(1, 1 - lock, lock);
        vmrpc_heap heap = VMRPC_DEFAULT_HEAP;
        EXPECT_EQ(vmrpc_heap_setup(client.connection, &options, &heap), VMRPC_BAD_ARGUMENT);
        EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr("`within` and prefault or lock"));
    }
}

TEST(HeapOptions, AServerPreparesItsClientsHeaps) {
    vmrpc_serve_options options{};
    options.struct_bytes = sizeof options;
    options.prefault = 1;
    const CapiServer server(options);
    const CapiClient client(server, wishing([](auto&) {}));
    EXPECT_EQ(capi_call_all(client.connection), 0) << VMRPC_LAST_ERROR_TEXT();
}

TEST(HeapOptions, APoolWithTooFewHugePagesIsAnError) {
    vmrpc_serve_options options{};
    options.allow_huge_pages = 1;
    options.heap_bytes = 1024 * kGiB;
    const CapiServer server(options);
    expect_refused(server, wishing([](auto& wishes) {
                       wishes.huge_pages = VMRPC_HUGE_PAGES_HUGETLB;
                       wishes.heap_bytes = 1024 * kGiB;
                   }),
                   VMRPC_OUT_OF_RESOURCES, "raise vm.nr_hugepages");
}

/// A heap of 64 MiB, and what lies in front of it, with all lanes.
constexpr std::uint64_t kPoolPagesOfAConnection = 32 + 8;

vmrpc_serve_options allowing() {
    vmrpc_serve_options options{};
    options.trust_peer = 1;
    options.borrow_stack = 1;
    options.allow_huge_pages = 1;
    return options;
}

vmrpc_serve_options making(vmrpc_huge_pages kind) {
    vmrpc_serve_options options{};
    options.trust_peer = 1;
    options.borrow_stack = 1;
    options.huge_pages = kind;
    return options;
}

vmrpc_connect_options wishing_pages(int kind) {
    return wishing([kind](auto& options) { options.huge_pages = kind; });
}

TEST(HeapOptions, AHeapOfHugePagesTakesThemFromThePool) {
    const PoolPages pool(kPoolPagesOfAConnection);
    if (!pool.are_there()) GTEST_SKIP() << "the pool has too few free huge pages, and cannot be raised";
    const std::uint64_t before = free_pool_pages();
    {
        const CapiServer server(allowing());
        const CapiClient client(server, wishing_pages(VMRPC_HUGE_PAGES_HUGETLB));
        EXPECT_LE(free_pool_pages(), before - 32);
        EXPECT_GE(free_pool_pages(), before - kPoolPagesOfAConnection) << "RPC stacks have frames only";
        void* block = vmrpc_malloc(client.connection, 30 * kMiB, nullptr);
        ASSERT_NE(block, nullptr);
        const std::int64_t faults = page_faults();
        std::memset(block, 1, 30 * kMiB);
        EXPECT_LT(page_faults() - faults, 2'000);  // of 7680 pages; a sanitizer touches some of its own
        EXPECT_EQ(vmrpc_free(client.connection, block), VMRPC_OK);
        EXPECT_EQ(VMRPC_TRIM(client.connection), VMRPC_OK);
        EXPECT_EQ(capi_call_all(client.connection), 0) << VMRPC_LAST_ERROR_TEXT();
    }
    EXPECT_EQ(free_pool_pages(), before);
}

TEST(HeapOptions, NoCodeRunsOnAnRpcStackOfThePoolsPages) {
    const PoolPages pool(2 * kPoolPagesOfAConnection);  // the server lets go of one a little after its client has
    if (!pool.are_there()) GTEST_SKIP() << "the pool has too few free huge pages, and cannot be raised";
    const auto expect_no_stack = [](const CapiServer& server, vmrpc_connect_options options) {
        options.trust_peer = 1;
        {
            const CapiClient client(server, options);
            bool has_run = false;
            const auto run = [](void* argument) { *static_cast<bool*>(argument) = true; };
            EXPECT_EQ(VMRPC_ON_RPC_STACK(client.connection, run, &has_run), VMRPC_NOT_SUPPORTED);
            EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr("do without huge_pages on both sides"));
            EXPECT_FALSE(has_run);
            EXPECT_EQ(capi_call_all(client.connection), 0) << VMRPC_LAST_ERROR_TEXT();
        }
        options.borrow_stack = 1;
        expect_refused(server, options, VMRPC_NOT_SUPPORTED, "borrow_stack cannot be in memory of the system's pool");
    };
    expect_no_stack(CapiServer(allowing()), wishing_pages(VMRPC_HUGE_PAGES_HUGETLB));
    expect_no_stack(CapiServer(making(VMRPC_HUGE_PAGES_HUGETLB)), wishing_pages(VMRPC_HUGE_PAGES_NONE));
}

TEST(HeapOptions, AClientTakesNoPoolPagesThatTheServerDoesNotGive) {
    const CapiServer server;
    expect_refused(server, wishing_pages(VMRPC_HUGE_PAGES_HUGETLB), VMRPC_NOT_PERMITTED, "allow_huge_pages");
    const CapiServer other(making(VMRPC_HUGE_PAGES_TRANSPARENT));
    expect_refused(other, wishing_pages(VMRPC_HUGE_PAGES_HUGETLB), VMRPC_NOT_PERMITTED, "allow_huge_pages");
    const CapiServer of_pool(making(VMRPC_HUGE_PAGES_HUGETLB));
    expect_refused(of_pool, wishing_pages(VMRPC_HUGE_PAGES_TRANSPARENT), VMRPC_NOT_PERMITTED,
                   "wish HUGETLB or nothing");
}

TEST(HeapOptions, AKindOfHugePagesThatIsNoneIsAnError) {
    const CapiServer server;
    expect_refused(server, wishing_pages(3), VMRPC_BAD_ARGUMENT, "huge_pages is 3");
    expect_refused(server, wishing_pages(-1), VMRPC_BAD_ARGUMENT, "huge_pages is -1");
    vmrpc_serve_options options = making(VMRPC_HUGE_PAGES_NONE);
    options.struct_bytes = sizeof options;
    options.huge_pages = 9;
    vmrpc_server* none = nullptr;
    EXPECT_EQ(vmrpc_serve((server.address() + "2").c_str(), &options, &none), VMRPC_BAD_ARGUMENT);
    EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr("huge_pages is 9"));
}

/// Of this process's mappings of segments, what huge pages map. Both ends have one mapping here.
std::uint64_t bytes_mapped_huge() {
    std::ifstream in("/proc/self/smaps");
    std::uint64_t kib = 0;
    bool is_ours = false;
    for (std::string line; std::getline(in, line);) {
        if (line.find(" rw-s ") != std::string::npos || line.find(" ---s ") != std::string::npos)
            is_ours = line.find("memfd:vmrpc") != std::string::npos;
        if (is_ours && line.starts_with("ShmemPmdMapped:")) kib += std::stoull(line.substr(15));
    }
    return kib * 1024;
}

void expect_transparent(const CapiServer& server, int wished) {
    vmrpc_connect_options options = wishing_pages(wished);
    options.trust_peer = 1;
    options.borrow_stack = 1;
    const CapiClient client(server, options);
    EXPECT_EQ(client.stats().committed_bytes, 0U);
    void* block = vmrpc_malloc(client.connection, 30 * kMiB, nullptr);
    ASSERT_NE(block, nullptr) << VMRPC_LAST_ERROR_TEXT();
    const std::int64_t faults = page_faults();
    std::memset(block, 1, 30 * kMiB);
    EXPECT_LT(page_faults() - faults, 1'024);  // of 7680 pages
    EXPECT_GE(bytes_mapped_huge(), 16 * kMiB) << "of a machine that has gigabytes free";
    EXPECT_EQ(vmrpc_free(client.connection, block), VMRPC_OK);
    EXPECT_EQ(VMRPC_TRIM(client.connection), VMRPC_OK);
    EXPECT_EQ(client.stats().committed_bytes, 0U);
    EXPECT_EQ(bytes_mapped_huge(), 0U) << "given back";
    bool has_run = false;
    const auto run = [](void* argument) { *static_cast<bool*>(argument) = true; };
    EXPECT_EQ(VMRPC_ON_RPC_STACK(client.connection, run, &has_run), VMRPC_OK) << VMRPC_LAST_ERROR_TEXT();
    EXPECT_TRUE(has_run);
    EXPECT_EQ(capi_call_all(client.connection), 0) << VMRPC_LAST_ERROR_TEXT();
}

TEST(HeapOptions, ATransparentHeapIsCommittedInHugePages) {
    const TransparentSetting setting("advise");
    if (!setting.is_set()) GTEST_SKIP() << "cannot set " << TransparentSetting::kPath;
    expect_transparent(CapiServer(making(VMRPC_HUGE_PAGES_NONE)), VMRPC_HUGE_PAGES_TRANSPARENT);
    expect_transparent(CapiServer(making(VMRPC_HUGE_PAGES_TRANSPARENT)), VMRPC_HUGE_PAGES_NONE);
}

TEST(HeapOptions, WithoutTransparentHugePagesTheFileThatSaysSoIsNamed) {
    const TransparentSetting setting("never");
    if (!setting.is_set()) GTEST_SKIP() << "cannot set " << TransparentSetting::kPath;
    const CapiServer server;
    expect_refused(server, wishing_pages(VMRPC_HUGE_PAGES_TRANSPARENT), VMRPC_NOT_SUPPORTED,
                   std::string(TransparentSetting::kPath) + " is \"never\"");
}

/// Serves on a thread that may lock little memory.
class WeakServer {
  public:
    explicit WeakServer(vmrpc_serve_options options) {
        options.struct_bytes = sizeof options;
        EXPECT_EQ(vmrpc_serve(folder_.address().c_str(), &options, &server_), VMRPC_OK) << VMRPC_LAST_ERROR_TEXT();
        EXPECT_EQ(capi_add_all(server_), VMRPC_OK);
        thread_ = std::thread([this] {
            const Unprivileged here(65'536);
            EXPECT_EQ(VMRPC_RUN(server_), VMRPC_OK);
        });
    }
    WeakServer(const WeakServer&) = delete;
    WeakServer& operator=(const WeakServer&) = delete;
    ~WeakServer() {
        VMRPC_STOP(server_);
        thread_.join();
        EXPECT_EQ(vmrpc_close(server_), VMRPC_OK);
    }
    /// Connects, which needs no serving thread, and calls.
    void expect_hung_up(vmrpc_status status, const std::string& text) const {
        vmrpc_connect_options options = wishing([](auto&) {});
        vmrpc_connection* connection = nullptr;
        ASSERT_EQ(vmrpc_connect(folder_.address().c_str(), &options, &connection), VMRPC_OK) << VMRPC_LAST_ERROR_TEXT();
        for (int i = 0; i < 2; ++i) {
            EXPECT_NE(capi_call_all(connection), 0);
            EXPECT_EQ(VMRPC_LAST_STATUS(), status);
            EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr("the server ended the connection: "));
            EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr(text));
        }
        EXPECT_EQ(vmrpc_close(connection), VMRPC_OK);
    }

  private:
    TempFolder folder_;
    vmrpc_server* server_ = nullptr;
    std::thread thread_;
};

TEST(HeapOptions, AClientIsToldWhyItsServerCannotLock) {
    vmrpc_serve_options options{};
    options.lock = 1;
    WeakServer(options).expect_hung_up(VMRPC_OUT_OF_RESOURCES, "RLIMIT_MEMLOCK is 65536 bytes");
}

TEST(HeapOptions, AClientIsToldWhyItsServerCannotPrefault) {
    vmrpc_serve_options options{};
    options.prefault = 1;
    options.commit_limit_bytes = kMiB;
    WeakServer(options).expect_hung_up(VMRPC_HEAP_FULL, "commit limit of 1048576 bytes");
}

}  // namespace
}  // namespace vmrpc::test
