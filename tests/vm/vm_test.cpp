// vm: between real guests and this host: memory that is a file here and /dev/dax there.
#include "guest.hpp"
#include "host_support.hpp"
#include "ivshmem_host.hpp"
#include "transport/vm/info_block.hpp"
#include "transport/vm/memory_file.hpp"
#include "vm_server_process.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <vector>

namespace vmrpc::vm {
namespace {

using ivshmem_test::HostThread;
namespace fs = std::filesystem;

constexpr std::uint64_t kSegmentBytes = std::uint64_t{1} << 30;
constexpr std::uint64_t kSmallSegmentBytes = std::uint64_t{64} << 20;

bool runs_long() {
    const char* wanted = std::getenv("VMRPC_TEST_LONG");
    return wanted != nullptr && *wanted == '1';
}

/// A service's folder, with the memory of VMs.
class VmFolder : public Folder {
  public:
    std::string address() const { return "vm:" + path(); }
    std::string memory(const std::string& name) const { return path() + "/" + name + ".mem"; }
    void add(const std::string& name, std::uint64_t segment_bytes = kSegmentBytes) const {
        const auto made = transport::vm::make_memory_file(memory(name), segment_bytes);
        EXPECT_TRUE(made) << made.error().text;
    }
};

enum class Line { kYes, kNo };

/// A guest with this VM's memory, and, unless there is no line, a socket by which the service learns of its end.
GuestOptions guest_of(const VmFolder& folder, const std::string& name, const std::vector<std::string>& whats,
                      const std::string& address = "vm:", Line line = Line::kYes) {
    GuestOptions options;
    options.pmem = {{folder.memory(name), fs::file_size(folder.memory(name))}};
    for (const std::string& what : whats) options.commands.push_back({{IVSHMEM_CLIENT, what, address}, false});
    options.files = {{SENTINEL, "/vmrpc-sentinel"}};
    options.environment = {"VMRPC_SENTINEL=/vmrpc-sentinel"};
    if (line == Line::kYes)
        options.qemu_args = {"-chardev", "socket,id=line,reconnect=1,path=" + folder.path() + "/" + name + ".poll"};
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

TEST(VmDax, ServesProcessesOfAGuestThatPolls) {
    const std::vector<std::string> whats{"values", "spans",  "pointers", "unequal",  "twenty",
                                         "two",    "full",   "killed",   "no-child", "killed-with-sentinels",
                                         "sparse", "as-user"};
    const VmFolder folder;
    folder.add("a");
    HostThread host(folder.address());
    ASSERT_TRUE(host.server().status()) << host.server().status().error().message();
    Guest guest{guest_of(folder, "a", whats)};
    expect_all_passed(guest, whats);
    EXPECT_TRUE(soon([&] { return host.opened == host.closed; })) << host.opened << " " << host.closed;
}

// The device rings the server, and is not needed for anything else; its memory is a card.
TEST(VmDax, IsRungByADoorbell) {
    const std::vector<std::string> whats{"values", "spans", "two", "killed", "twenty"};
    const VmFolder folder;
    folder.add("a");
    HostThread host(folder.address());
    ASSERT_TRUE(soon([&] { return fs::exists(folder.path() + "/a.doorbell"); }));
    auto options = guest_of(folder, "a", whats, "vm:?ring=doorbell", Line::kNo);
    options.doorbells = {{folder.path() + "/a.doorbell", 5}};
    Guest guest{options};
    expect_all_passed(guest, whats);
    EXPECT_TRUE(soon([&] { return host.opened == host.closed; })) << host.opened << " " << host.closed;
}

/// The guest has as many ports as processes of it can be connected, and nothing else tells the service of its end.
GuestOptions guest_with_ports(const VmFolder& folder, const std::vector<std::string>& whats, int ports) {
    auto options = guest_of(folder, "a", whats, "vm:?ring=serial", Line::kNo);
    for (int i = 0; i < ports; ++i)
        options.ports.push_back(
            {"vmrpc." + std::to_string(i), "socket,reconnect=1,path=" + folder.path() + "/a.serial"});
    return options;
}

// "killed": a process beside the one that looks on, six times, so that each has the port of the one before.
TEST(VmSerial, ServesProcessesOfAGuestThatHasPorts) {
    const std::vector<std::string> whats{"values", "spans", "two", "killed", "twenty"};
    const VmFolder folder;
    folder.add("a");
    HostThread host(folder.address() + "?processes=2&ring=serial");
    ASSERT_TRUE(soon([&] { return fs::exists(folder.path() + "/a.serial"); }));
    Guest guest{guest_with_ports(folder, whats, 2)};
    expect_all_passed(guest, whats);
    EXPECT_TRUE(soon([&] { return host.opened == host.closed; })) << host.opened << " " << host.closed;
}

TEST(VmSerial, AVmsEndIsThatOfItsPorts) {
    const VmFolder folder;
    folder.add("a");
    HostThread host(folder.address());
    Guest guest{guest_with_ports(folder, {"wait"}, 4)};
    ASSERT_TRUE(soon([&] { return host.opened == 1; }, seconds(120))) << guest.output();
    EXPECT_EQ(host.closed, 0U);
    guest.kill();
    EXPECT_TRUE(soon([&] { return host.closed == 1; }));
}

// QEMU connects its ports when there is a service, and to the next one anew.
TEST(VmSerial, PortsWaitForTheirService) {
    const std::vector<std::string> whats{"wait-for-server", "full", "killed-with-sentinels", "outlive-server"};
    const VmFolder folder;
    folder.add("a");
    Guest guest{guest_with_ports(folder, whats, 4)};
    ASSERT_TRUE(guest.wait_for_line(std::regex("^no server yet"), seconds(120))) << guest.output();
    auto server = std::make_unique<ServerProcess>(IVSHMEM_SERVER, folder.address());
    ASSERT_TRUE(guest.wait_for_line(std::regex("^calling"), seconds(120))) << guest.output();
    server.reset();
    ASSERT_TRUE(guest.wait_for_line(std::regex("^lost"), seconds(60))) << guest.output();
    server = std::make_unique<ServerProcess>(IVSHMEM_SERVER, folder.address());
    expect_all_passed(guest, whats);
}

/// So many VMs at once, two processes in each: right results, and nobody else's bytes in anybody's memory.
void crowd(std::size_t vms, const char* busy_seconds) {
    const VmFolder folder;
    HostThread host(folder.address());
    std::vector<std::unique_ptr<Guest>> guests;
    for (std::size_t i = 0; i < vms; ++i) {
        const std::string name = "vm" + std::to_string(i);
        folder.add(name, kSmallSegmentBytes);  // the service is running: it finds them
        auto options = guest_of(folder, name, {"two-busy"});
        options.environment.push_back(std::string("BUSY_SECONDS=") + busy_seconds);
        options.limit = seconds(600);
        guests.push_back(std::make_unique<Guest>(options));
    }
    for (auto& guest : guests) expect_all_passed(*guest, {"two-busy"});
    EXPECT_TRUE(soon([&] { return host.opened == 2 * vms && host.opened == host.closed; }))
        << host.opened << " " << host.closed;
}

TEST(VmDax, ManyVmsHaveASegmentEach) {
    if (runs_long())
        crowd(8, "60");
    else
        crowd(3, "10");
}

// The VM's memory is the host's file: another server goes on with it, and the VM does not restart.
TEST(VmLife, AServerRestartsWhileTheVmRuns) {
    const VmFolder folder;
    folder.add("a");
    auto server = std::make_unique<ServerProcess>(IVSHMEM_SERVER, folder.address());
    Guest guest{guest_of(folder, "a", {"outlive-server"})};
    ASSERT_TRUE(guest.wait_for_line(std::regex("^calling"), seconds(120))) << guest.output();
    std::this_thread::sleep_for(milliseconds(300));
    const auto start = Clock::now();
    server.reset();
    ASSERT_TRUE(guest.wait_for_line(std::regex("^lost"), seconds(60))) << guest.output();
    std::printf("the client knew after %.0f ms\n", ms_since(start));
    server = std::make_unique<ServerProcess>(IVSHMEM_SERVER, folder.address());
    expect_all_passed(guest, {"outlive-server"});
}

// QEMU needs nothing of the service to start: the memory is there, and the line is connected when there is a socket.
TEST(VmLife, AVmStartsBeforeItsService) {
    const VmFolder folder;
    folder.add("a");
    Guest guest{guest_of(folder, "a", {"wait-for-server", "values"})};
    ASSERT_TRUE(guest.wait_for_line(std::regex("^no server yet"), seconds(120))) << guest.output();
    HostThread host(folder.address());
    expect_all_passed(guest, {"wait-for-server", "values"});
    EXPECT_TRUE(soon([&] { return host.opened == host.closed; }));
}

/// QEMU listens, and starts no guest before a service has come.
void add_waiting_doorbell(GuestOptions& options, const std::string& socket) {
    options.iommu = true;
    options.modules.insert(options.modules.end(), {"vfio-pci", "vfio_iommu_type1"});
    options.files.push_back({DOORBELL, "/vmrpc-doorbell"});
    options.environment.push_back("VMRPC_DOORBELL=/vmrpc-doorbell");
    options.qemu_args = {"-chardev", "socket,id=bell,server=on,wait=on,path=" + socket, "-device",
                         "ivshmem-doorbell,chardev=bell,vectors=5"};
}

void expect_to_wait_at(const std::string& socket) {
    ASSERT_TRUE(soon([&] { return fs::exists(socket); }, seconds(60)));
}

// The service connects to QEMU, and takes the socket's file away.
TEST(VmLife, AVmWhoseQemuWaitsStartsBeforeItsService) {
    const std::vector<std::string> whats{"values", "two"};
    const VmFolder folder;
    folder.add("a");
    auto options = guest_of(folder, "a", whats, "vm:?ring=doorbell", Line::kNo);
    const std::string socket = folder.path() + "/a.doorbell.qemu";
    add_waiting_doorbell(options, socket);
    Guest guest{options};
    expect_to_wait_at(socket);
    const HostThread host(folder.address());
    expect_all_passed(guest, whats);
    EXPECT_FALSE(fs::exists(socket));
    EXPECT_TRUE(soon([&] { return host.opened == 3 && host.opened == host.closed; }))
        << host.opened << " " << host.closed;
}

// Its memory is the service's, which is there first.
TEST(VmLife, AVmWhoseQemuWaitsForMemory) {
    const VmFolder folder;
    GuestOptions options;
    options.commands = {{{IVSHMEM_CLIENT, "values", "vm:?memory=bar&ring=doorbell"}, false}};
    options.files = {{SENTINEL, "/vmrpc-sentinel"}};
    options.environment = {"VMRPC_SENTINEL=/vmrpc-sentinel"};
    options.limit = seconds(240);
    add_waiting_doorbell(options, folder.path() + "/a.bar.qemu");
    const HostThread host(folder.address() + "?memory=bar");
    Guest guest{options};
    expect_all_passed(guest, {"values"});
    EXPECT_FALSE(fs::exists(folder.path() + "/a.bar.qemu"));
}

// Both of them wait, one after the other.
TEST(VmLife, AVmWhoseQemuWaitsTwice) {
    const VmFolder folder;
    folder.add("a");
    auto options = guest_of(folder, "a", {"values"}, "vm:?ring=vsock", Line::kNo);
    add_waiting_doorbell(options, folder.path() + "/a.doorbell.qemu");
    options.modules.emplace_back("vmw_vsock_virtio_transport");
    options.qemu_args.insert(
        options.qemu_args.end(),
        {"-object", "memory-backend-memfd,id=ram,size=256M,share=on", "-machine", "memory-backend=ram", "-chardev",
         "socket,id=vsock,server=on,wait=on,path=" + folder.path() + "/a.vsock.qemu", "-device",
         "vhost-user-vsock-pci,chardev=vsock"});
    Guest guest{options};
    expect_to_wait_at(folder.path() + "/a.doorbell.qemu");
    const HostThread host(folder.address());
    expect_all_passed(guest, {"values"});
}

// The other direction: the guest serves, this host calls; then another VM of the same memory does.
TEST(VmDirections, AGuestServesItsHostAndAnotherVm) {
    const VmFolder folder;
    folder.add("a");
    auto options = guest_of(folder, "a", {}, "", Line::kNo);
    options.commands = {{{IVSHMEM_SERVER, "vm:"}, false}};
    Guest server{options};
    ASSERT_TRUE(server.wait_for_line(std::regex("^ready"), seconds(120))) << server.output();
    {
        const auto client = vmrpc::Client::connect("vm:" + folder.memory("a"), {.timeout = seconds(20)});
        ASSERT_TRUE(client) << client.error().message();
        for (std::int64_t i = 0; i < 1'000; ++i) ASSERT_EQ(client->call<ivshmem_test::add>(i, 5).value(), i + 5);
        auto array = client->heap().make_array<double>(100'000).value();
        std::fill(array.begin(), array.end(), 2.5);
        EXPECT_EQ(client->call<ivshmem_test::mean>(array).value(), 2.5);
        EXPECT_EQ(vmrpc_offset(client->handle(), VMRPC_DEFAULT_HEAP), 0);
    }
    const HostThread host(folder.address());  // must not take the memory from a server that is alive
    const std::vector<std::string> whats{"values", "spans", "pointers", "two"};
    Guest client{guest_of(folder, "a", whats, "vm:", Line::kNo)};
    expect_all_passed(client, whats);
    EXPECT_EQ(host.opened, 0U);
    server.kill();
    server.wait();
}

/// A service sees a file a little later than whoever has made it.
vmrpc::Result<vmrpc::Client> connect_when_served(const std::string& address) {
    auto client = vmrpc::Client::connect(address);
    soon([&] {
        if (!client) client = vmrpc::Client::connect(address);
        return client.has_value();
    });
    return client;
}

TEST(VmLife, MemoryThatIsReplacedOrCutOffIsLetGo) {
    const VmFolder folder;
    folder.add("a");
    HostThread host(folder.address());
    for (const bool cut : {true, false}) {
        const auto client = connect_when_served("vm:" + folder.memory("a"));
        ASSERT_TRUE(client) << client.error().message();
        // Another file, in one step: the old one lives on here, at its full size.
        transport::vm::make_memory_file(folder.memory("b") + ".new", kSmallSegmentBytes);
        if (cut) fs::resize_file(folder.memory("b") + ".new", 1 << 20);
        fs::rename(folder.memory("b") + ".new", folder.memory("a"));
        EXPECT_TRUE(soon([&] { return host.opened == host.closed; }));
        EXPECT_EQ(client->call<ivshmem_test::add>(1, 2).error().status, VMRPC_PEER_LOST);
        if (cut) {
            fs::remove(folder.memory("a"));
            folder.add("a");
        }
    }
    const auto client = connect_when_served("vm:" + folder.memory("a"));
    ASSERT_TRUE(client) << client.error().message();
    EXPECT_EQ(client->call<ivshmem_test::add>(1, 2).value(), 3);
}

}  // namespace
}  // namespace vmrpc::vm
