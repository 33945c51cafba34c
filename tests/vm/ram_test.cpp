// memory=ram: pages of processes in real guests, which this host maps from the file that is the VM's RAM.
#include "guest.hpp"
#include "host_support.hpp"
#include "ivshmem_host.hpp"
#include "transport/vm/ram/ram_file.hpp"
#include "vm_server_process.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace vmrpc::vm {
namespace {

using ivshmem_test::HostThread;
namespace fs = std::filesystem;

constexpr std::uint64_t kMib = std::uint64_t{1} << 20;
constexpr unsigned kRamMib = 512;

/// A service's folder, with the RAM of a VM called "a".
class RamFolder {
  public:
    explicit RamFolder(unsigned ram_mib = kRamMib) : path_("/dev/shm/vmrpc-test-XXXXXX"), ram_mib_(ram_mib) {
        EXPECT_NE(::mkdtemp(path_.data()), nullptr);
        const auto made = transport::vm::make_ram_file(ram(), ram_mib * kMib);
        EXPECT_TRUE(made) << made.error().text;
    }
    RamFolder(const RamFolder&) = delete;
    RamFolder& operator=(const RamFolder&) = delete;
    ~RamFolder() { fs::remove_all(path_); }

    std::string address() const { return "vm:" + path_; }
    std::string ram() const { return path_ + "/a.ram"; }
    std::string vsock() const { return path_ + "/a.vsock"; }
    unsigned ram_mib() const { return ram_mib_; }

  private:
    std::string path_;
    unsigned ram_mib_;
};

/// A guest whose RAM is the file, or, if `ram` is another backend, that.
GuestOptions guest_of(const RamFolder& folder, const std::vector<std::string>& whats, std::string ram = "") {
    if (ram.empty()) ram = "memory-backend-file,mem-path=" + folder.ram();
    GuestOptions options;
    options.modules = {"virtio_pci", "vmw_vsock_virtio_transport"};
    for (const std::string& what : whats) options.commands.push_back({{IVSHMEM_CLIENT, what, "vm:?memory=ram"}, false});
    options.files = {{SENTINEL, "/vmrpc-sentinel"}};
    options.environment = {"VMRPC_SENTINEL=/vmrpc-sentinel"};
    options.memory_mib = folder.ram_mib();
    options.qemu_args = {"-machine", "memory-backend=ram",
                         "-object",  ram + ",id=ram,share=on,size=" + std::to_string(folder.ram_mib()) + "M",
                         "-chardev", "socket,id=vsock,path=" + folder.vsock(),
                         "-device",  "vhost-user-vsock-pci,chardev=vsock"};
    options.keep_going = true;
    options.limit = seconds(240);
    return options;
}

void expect_all_passed(Guest& guest, const std::vector<std::string>& whats) {
    const auto result = guest.wait();
    ASSERT_EQ(result.outcome, Outcome::kExited) << result.message << "\n" << guest.output();
    ASSERT_EQ(result.statuses.size(), whats.size());
    for (std::size_t i = 0; i < whats.size(); ++i)
        EXPECT_EQ(result.statuses[i].as_shell(), 0) << whats[i] << "\n" << guest.output();
    std::puts(guest.output().c_str());
}

TEST(VmRam, ServesProcessesOfAGuest) {
    const std::vector<std::string> whats{"values", "spans",       "pointers",       "unequal",
                                         "twenty", "two",         "full",           "no-child",
                                         "killed", "ram-as-user", "ram-comes-back", "ram-sentinels-end"};
    const RamFolder folder;
    HostThread host(folder.address());
    ASSERT_TRUE(host.server().status()) << host.server().status().error().message();
    ASSERT_TRUE(soon([&] { return fs::exists(folder.vsock()); }));
    Guest guest{guest_of(folder, whats)};
    expect_all_passed(guest, whats);
    EXPECT_TRUE(soon([&] { return host.opened == host.closed; })) << host.opened << " " << host.closed;
}

// RAM above 4 GiB lies elsewhere in the file. The guest has little of it in use: the file stays small.
TEST(VmRam, ServesAGuestWithRamAbove4GiB) {
    const std::vector<std::string> whats{"values", "spans"};
    const RamFolder folder(4096);
    HostThread host(folder.address());
    ASSERT_TRUE(soon([&] { return fs::exists(folder.vsock()); }));
    Guest guest{guest_of(folder, whats)};
    expect_all_passed(guest, whats);
}

TEST(VmRam, KnowsTheEndOfTheVmAndTheServersOptions) {
    const RamFolder folder;
    HostThread host(folder.address() + "?memory=ram&processes=2", 32 * kMib);
    ASSERT_TRUE(soon([&] { return fs::exists(folder.vsock()); }));
    Guest guest{guest_of(folder, {"ram-too-much", "wait"})};
    ASSERT_TRUE(guest.wait_for_line(std::regex("^waiting"), seconds(120))) << guest.output();
    EXPECT_EQ(host.opened, 2U);
    guest.kill();
    EXPECT_TRUE(soon([&] { return host.closed == 2; }));
    EXPECT_EQ(guest.wait().statuses.at(0).as_shell(), 0) << guest.output();
}

TEST(VmRam, ClientKnowsThatItsServerWasKilled) {
    const RamFolder folder;
    auto server = std::make_unique<ServerProcess>(IVSHMEM_SERVER, folder.address());
    ASSERT_TRUE(soon([&] { return fs::exists(folder.vsock()); }));
    Guest guest{guest_of(folder, {"ram-lose-server"})};
    ASSERT_TRUE(guest.wait_for_line(std::regex("^calling"), seconds(120))) << guest.output();
    std::this_thread::sleep_for(milliseconds(300));
    server.reset();
    expect_all_passed(guest, {"ram-lose-server"});
}

TEST(VmRam, RefusesAFileThatIsNotTheVmsRam) {
    const RamFolder folder;
    HostThread host(folder.address());
    ASSERT_TRUE(soon([&] { return fs::exists(folder.vsock()); }));
    Guest guest{guest_of(folder, {"ram-is-not-there"}, "memory-backend-memfd")};
    expect_all_passed(guest, {"ram-is-not-there"});
    EXPECT_EQ(host.opened, 0U);
}

}  // namespace
}  // namespace vmrpc::vm
