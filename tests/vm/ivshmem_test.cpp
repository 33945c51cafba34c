// ivshmem: between real guests and servers on this host.
#include "guest.hpp"
#include "host_support.hpp"
#include "ivshmem_host.hpp"
#include "layout/plan.hpp"
#include "unit/system_setting.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <vector>

namespace vmrpc::vm {
namespace {

using ivshmem_test::HostThread;

/// Memory for a device that is nothing else.
class PlainMemory {
  public:
    explicit PlainMemory(std::size_t bytes) : bytes_(bytes), file_(::memfd_create("plain", MFD_CLOEXEC)) {
        EXPECT_EQ(::ftruncate(file_, static_cast<off_t>(bytes)), 0);
        base_ = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
        EXPECT_NE(base_, MAP_FAILED);
    }
    PlainMemory(const PlainMemory&) = delete;
    PlainMemory& operator=(const PlainMemory&) = delete;
    ~PlainMemory() {
        ::munmap(base_, bytes_);
        ::close(file_);
    }
    std::byte* base() const { return static_cast<std::byte*>(base_); }
    IvshmemPlain device() const {
        return {"/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(file_), bytes_};
    }

  private:
    std::size_t bytes_;
    int file_;
    void* base_ = nullptr;
};

GuestOptions guest_with(const std::string& socket, const std::vector<std::string>& whats) {
    GuestOptions options;
    options.doorbells = {{socket, 2}};
    for (const std::string& what : whats) options.commands.push_back({{IVSHMEM_CLIENT, what}, false});
    options.files = {{SENTINEL, "/vmrpc-sentinel"}};
    options.environment = {"VMRPC_SENTINEL=/vmrpc-sentinel"};
    options.keep_going = true;
    options.limit = seconds(180);
    return options;
}

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

/// vmrpc-sentinel processes of this test's build.
std::size_t sentinels() {
    std::size_t count = 0;
    for (const auto& process : std::filesystem::directory_iterator("/proc")) {
        std::error_code gone;
        count += std::filesystem::read_symlink(process.path() / "exe", gone) == SENTINEL ? 1 : 0;
    }
    return count;
}

// One boot serves all of these: each looks at one command.
class IvshmemGuest : public testing::TestWithParam<const char*> {
  protected:
    static const std::vector<std::string>& all() {
        static const std::vector<std::string> whats{"values",       "spans",  "pointers", "unequal",
                                                    "twenty",       "two",    "full",     "killed",
                                                    "no-sentinel",  "absent", "no-child", "killed-with-sentinels",
                                                    "unprivileged", "sparse"};
        return whats;
    }
    static void SetUpTestSuite() {
        const Folder folder;
        HostThread host(folder.address());
        ASSERT_TRUE(host.server().status()) << host.server().status().error().message();
        Guest guest{guest_with(folder.socket(), all())};
        result_ = guest.wait();
        output_ = guest.output();
        EXPECT_TRUE(soon([&] { return host.opened == host.closed; })) << host.opened << " " << host.closed;
        std::puts(output_.c_str());
    }
    static inline GuestResult result_;
    static inline std::string output_;
};

TEST_P(IvshmemGuest, Passes) {
    ASSERT_EQ(result_.outcome, Outcome::kExited) << result_.message << "\n" << output_;
    ASSERT_EQ(result_.statuses.size(), all().size());
    for (std::size_t i = 0; i < all().size(); ++i) {
        if (all()[i] == GetParam()) {
            EXPECT_EQ(result_.statuses[i].as_shell(), 0) << output_;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(All, IvshmemGuest,
                         testing::Values("values", "spans", "pointers", "unequal", "twenty", "two", "full", "killed",
                                         "no-sentinel", "absent", "no-child", "killed-with-sentinels", "unprivileged",
                                         "sparse"),
                         [](const auto& param) {
                             std::string name = param.param;
                             std::erase(name, '-');
                             return name;
                         });

/// A guest's processes on a device of huge pages, one after the other: each finds its region cleared.
void expect_served(vmrpc_huge_pages kind) {
    const Folder folder;
    HostThread host(folder.address(), 16 << 20, kind);
    ASSERT_TRUE(host.server().status()) << host.server().status().error().message();
    Guest guest{guest_with(folder.socket(), {"values", "spans", "pointers", "values"})};
    EXPECT_EQ(guest.wait().exit_code(), 0) << guest.output();
}

TEST(IvshmemHugePages, OfThePoolServeAGuest) {
    const test::PoolPages pool(192);
    if (!pool.are_there()) GTEST_SKIP() << "the pool has too few free huge pages, and cannot be raised";
    const std::uint64_t before = test::free_pool_pages();
    expect_served(VMRPC_HUGE_PAGES_HUGETLB);
    EXPECT_TRUE(soon([&] { return test::free_pool_pages() == before; })) << test::free_pool_pages();
}

TEST(IvshmemHugePages, ThatAreTransparentServeAGuest) {
    const test::TransparentSetting setting("advise");
    if (!setting.is_set()) GTEST_SKIP() << "cannot set " << test::TransparentSetting::kPath;
    expect_served(VMRPC_HUGE_PAGES_TRANSPARENT);
}

TEST(IvshmemDeath, OfTheServerIsNoticedInTheGuest) {
    const Folder folder;
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    std::string program = IVSHMEM_SERVER;
    std::string address = folder.address();
    std::array<char*, 3> arguments{program.data(), address.data(), nullptr};
    pid_t server = -1;
    ASSERT_EQ(::posix_spawn(&server, program.c_str(), &actions, nullptr, arguments.data(), environ), 0);
    ::close(ends[1]);
    std::array<char, 6> ready{};
    ASSERT_EQ(::read(ends[0], ready.data(), ready.size()), 6);
    Guest guest{guest_with(folder.socket(), {"lose-server"})};
    for (int i = 0; i < 2; ++i) ASSERT_TRUE(guest.wait_for_line(std::regex("^calling"), seconds(60))) << guest.output();
    std::this_thread::sleep_for(milliseconds(300));
    const auto start = Clock::now();
    ::kill(server, SIGKILL);
    for (int i = 0; i < 2; ++i) ASSERT_TRUE(guest.wait_for_line(std::regex("^lost"), seconds(30))) << guest.output();
    std::printf("both clients knew after %.0f ms\n", ms_since(start));
    EXPECT_TRUE(guest.wait_for_line(std::regex("^no server"), seconds(30))) << guest.output();
    EXPECT_EQ(guest.wait().exit_code(), 0) << guest.output();
    // No sentinel keeps the server's pipe open, or lives on.
    char byte = 0;
    EXPECT_EQ(::read(ends[0], &byte, 1), 0);
    ::close(ends[0]);
    ::waitpid(server, nullptr, 0);
    EXPECT_TRUE(soon([] { return sentinels() == 0; }));
}

// Three VMs on one server, each alone in its memory; one of them is killed, the others go on.
TEST(IvshmemDeath, OfAVmLeavesTheOthersAndNothingElse) {
    const Folder folder;
    // A small heap: each guest reads all of its device.
    auto host = std::make_unique<HostThread>(folder.address(), 16 << 20);
    std::array<std::unique_ptr<Guest>, 3> guests;
    const std::size_t descriptors_before = descriptors();
    const std::size_t mappings_before = mappings();
    for (auto& guest : guests) guest = std::make_unique<Guest>(guest_with(folder.socket(), {"isolation"}));
    Guest victim{guest_with(folder.socket(), {"wait"})};
    for (auto& guest : guests)
        ASSERT_TRUE(guest->wait_for_line(std::regex("^filled"), seconds(120))) << guest->output();
    ASSERT_TRUE(soon([&] { return host->opened == 4; }, seconds(60)));
    EXPECT_EQ(mappings(), mappings_before + 4);
    const auto start = Clock::now();
    ::kill(victim.qemu_pid(), SIGKILL);
    ASSERT_TRUE(soon([&] { return host->closed == 1; }));
    std::printf("the server knew after %.0f ms\n", ms_since(start));
    EXPECT_TRUE(soon([&] { return mappings() == mappings_before + 3; })) << mappings();
    EXPECT_TRUE(soon([] { return sentinels() == 3; })) << sentinels();
    host->closed += 2;  // the others wait for this before they look
    for (auto& guest : guests) {
        const auto result = guest->wait();
        EXPECT_EQ(result.exit_code(), 0) << result.message << guest->output();
        std::puts(guest->output().c_str());
    }
    victim.wait();
    for (auto& guest : guests) guest.reset();
    EXPECT_TRUE(soon([&] { return mappings() == mappings_before; })) << mappings();
    EXPECT_TRUE(soon([] { return sentinels() == 0; })) << sentinels();
    host.reset();
    EXPECT_LE(descriptors(), descriptors_before + 8);  // of the guests' own that are still in scope
}

// The guest's only CPU is its number 0, as that of the server is here: they are two all the same.
TEST(IvshmemSpin, IsNotGivenUpForACpuOfTheSameNumber) {
    const Folder folder;
    cpu_set_t before;
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
    ASSERT_EQ(::sched_setaffinity(0, sizeof first, &first), 0);
    const HostThread host(folder.address());
    ASSERT_EQ(::sched_setaffinity(0, sizeof before, &before), 0);
    Guest guest{guest_with(folder.socket(), {"spins"})};
    EXPECT_EQ(guest.wait().exit_code(), 0) << guest.output();
}

TEST(IvshmemDevices, SeveralAreListedAndOnlyOursIsUsed) {
    const Folder folder;
    const HostThread host(folder.address());
    const PlainMemory foreign(1 << 20);
    const PlainMemory small(4096);
    const PlainMemory cut(1 << 20);
    layout::format_segment(cut.base(), std::uint64_t{1} << 30, 4, layout::make_uuid(), "test");
    auto options = guest_with(folder.socket(), {"several"});
    options.memories = {foreign.device(), small.device(), cut.device()};
    Guest guest{options};
    EXPECT_EQ(guest.wait().exit_code(), 0) << guest.output();
    std::puts(guest.output().c_str());
}

TEST(IvshmemDevices, AGuestWithoutOneSaysSo) {
    auto options = guest_with("", {"no-device"});
    options.doorbells.clear();
    Guest guest{options};
    EXPECT_EQ(guest.wait().exit_code(), 0) << guest.output();
}

TEST(IvshmemDeath, OfTheSocketIsNotThatOfTheServer) {
    const Folder folder;
    auto host = std::make_unique<HostThread>(folder.address());
    Guest guest{guest_with(folder.socket(), {"lose-socket"})};
    ASSERT_TRUE(guest.wait_for_line(std::regex("^connected"), seconds(60))) << guest.output();
    ASSERT_EQ(::unlink(folder.socket().c_str()), 0);
    ++host->closed;  // the guest waits for this
    ASSERT_TRUE(guest.wait_for_line(std::regex("^still served"), seconds(60))) << guest.output();
    host.reset();
    EXPECT_EQ(guest.wait().exit_code(), 0) << guest.output();
}

}  // namespace
}  // namespace vmrpc::vm
