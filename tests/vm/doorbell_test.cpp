// Interrupts into a real guest, for several of its processes at once, with the kernel's own modules.
#include "dax_info_block.hpp"
#include "doorbell_host.hpp"
#include "guest.hpp"
#include "host_support.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <future>
#include <string>
#include <vector>

namespace vmrpc::vm {
namespace {

/// Memory that the guest has as /dev/dax0.0.
class DaxMemory {
  public:
    DaxMemory() : file_(::memfd_create("dax", MFD_CLOEXEC)) {
        EXPECT_EQ(::ftruncate(file_.get(), kBytes), 0);
        void* mapped = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
        EXPECT_NE(mapped, MAP_FAILED);
        write_dax_info(static_cast<std::byte*>(mapped), kBytes, 1);
        ::munmap(mapped, kBytes);
    }
    VirtioPmem device() const {
        return {"/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(file_.get()), kBytes};
    }

  private:
    static constexpr std::size_t kBytes = std::size_t{16} << 20;
    base::Fd file_;
};

GuestOptions guest_with(const std::string& socket, const std::vector<std::vector<std::string>>& whats) {
    GuestOptions options;
    options.doorbells = {{socket, kDoorbellVectors}};
    for (const auto& what : whats) {
        options.commands.push_back({{DOORBELL_CLIENT}, false});
        options.commands.back().args.insert(options.commands.back().args.end(), what.begin(), what.end());
    }
    options.files = {{DOORBELL, "/vmrpc-doorbell"}};
    options.environment = {"VMRPC_DOORBELL=/vmrpc-doorbell"};
    options.modules = {"vfio-pci", "vfio_iommu_type1"};
    options.iommu = true;
    options.keep_going = true;
    options.limit = seconds(180);
    return options;
}

double median_us(std::vector<std::chrono::nanoseconds> durations) {
    std::ranges::sort(durations);
    return std::chrono::duration<double, std::micro>(durations[durations.size() / 2]).count();
}

// What the guest does, in this order: see doorbell_client.cpp.
constexpr std::array<const char*, 12> kWhats{
    "ping",   "broker-ends",   "memory",       "two-devices", "not-mapped", "no-such-vector",
    "forked", "broker-killed", "unprivileged", "dax",         "service",    "stranger"};

// One boot serves all of these: each looks at one command.
class DoorbellGuest : public testing::TestWithParam<std::size_t> {
  protected:
    static void SetUpTestSuite() {
        const Folder folder;
        const DoorbellHost host(folder.socket());
        const Folder other_folder;
        const DoorbellHost other(other_folder.socket());
        for (std::uint64_t i = 0; i < 512; ++i) host.words()[i] = i * 3;
        std::vector<std::vector<std::string>> whats;
        for (const char* what : kWhats) whats.push_back({what});
        auto options = guest_with(folder.socket(), whats);
        options.doorbells.push_back({other_folder.socket(), kDoorbellVectors});
        const DaxMemory dax;
        options.pmem = {dax.device()};
        Guest guest{options};
        ping(host, guest);
        result_ = guest.wait();
        output_ = guest.output();
        for (std::uint64_t i = 0; i < 512; ++i) EXPECT_EQ(host.words()[512 + i], i * 5);
        std::puts(output_.c_str());
    }
    /// The host's part of the guest's "ping".
    static void ping(const DoorbellHost& host, Guest& guest) {
        for (int i = 0; i < 3; ++i)
            ASSERT_TRUE(guest.wait_for_line(std::regex("^answering on"), seconds(90))) << guest.output();
        const auto durations = host.ping_pong(1, 2000);
        ASSERT_EQ(durations.size(), 2000U) << guest.output();
        std::printf("host eventfd -> interrupt -> guest process -> doorbell -> host eventfd: median %.1f us\n",
                    median_us(durations));
        std::vector<std::future<std::size_t>> at_once;
        for (std::uint32_t vector = 1; vector < kDoorbellVectors; ++vector)
            at_once.push_back(
                std::async(std::launch::async, [&, vector] { return host.ping_pong(vector, 700).size(); }));
        for (auto& one : at_once) EXPECT_EQ(one.get(), 700U);
        host.kick(0);
        ASSERT_EQ(host.wait(0, seconds(30)), 1U) << guest.output();
        for (const std::uint32_t vector : {1U, 3U}) EXPECT_EQ(host.ping_pong(vector, 100).size(), 100U);
        host.kick(0);
    }
    static inline GuestResult result_;
    static inline std::string output_;
};

TEST_P(DoorbellGuest, Passes) {
    ASSERT_EQ(result_.outcome, Outcome::kExited) << result_.message << "\n" << output_;
    ASSERT_EQ(result_.statuses.size(), kWhats.size());
    EXPECT_EQ(result_.statuses[GetParam()].as_shell(), 0) << output_;
}

INSTANTIATE_TEST_SUITE_P(All, DoorbellGuest, testing::Range(std::size_t{0}, kWhats.size()), [](const auto& param) {
    std::string name = kWhats[param.param];
    std::erase(name, '-');
    return name;
});

TEST(DoorbellGuestWithout, AnIommuSaysWhatToAdd) {
    const Folder folder;
    const DoorbellHost host(folder.socket());
    auto options =
        guest_with(folder.socket(),
                   {{"open-fails", std::to_string(VMRPC_NOT_SUPPORTED), "-device intel-iommu,intremap=on first"}});
    options.iommu = false;
    Guest guest{options};
    EXPECT_EQ(guest.wait().exit_code(), 0) << guest.output();
}

TEST(DoorbellGuestWithout, ModulesNamesThem) {
    const Folder folder;
    const DoorbellHost host(folder.socket());
    auto options =
        guest_with(folder.socket(),
                   {{"open-fails", std::to_string(VMRPC_NOT_SUPPORTED), "modprobe -a vfio-pci vfio_iommu_type1"}});
    options.modules.clear();
    Guest guest{options};
    EXPECT_EQ(guest.wait().exit_code(), 0) << guest.output();
}

}  // namespace
}  // namespace vmrpc::vm
