// What happens to VMs in their lives: processes are killed and started anew, the VM is paused, boots again, panics, is
// killed, gets its device while it runs, outlives its server. Each survivor knows, and whoever comes next is served.
// How soon somebody knew is printed; time limits here only tell a hang. $VMRPC_TEST_LONG=1: each ten times.
#include "guest.hpp"
#include "life_host.hpp"
#include "transport/vm/info_block.hpp"
#include "transport/vm/memory_file.hpp"

#include <gtest/gtest.h>

#include <signal.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

namespace vmrpc::vm {
namespace {

constexpr std::uint64_t kSegmentBytes = std::uint64_t{256} << 20;

// A way to get memory and a bell to a guest.
struct Carrier {
    std::string name;  // of the row
    std::string memory;
    std::string ring;
    std::string ring_after = ring;  // when the service has restarted, and QEMU has not

    [[nodiscard]] bool has_memory_file() const { return memory == "dax"; }
    [[nodiscard]] bool is_plugged() const { return memory.empty(); }  // into a VM that runs
    [[nodiscard]] std::string service(const Folder& folder) const {
        return is_plugged() ? folder.address() : "vm:" + folder.path();
    }
    [[nodiscard]] std::string guest_address(const std::string& with_ring) const {
        return is_plugged() ? "ivshmem:" : "vm:?memory=" + memory + "&ring=" + with_ring;
    }
};

void PrintTo(const Carrier& carrier, std::ostream* out) {
    *out << carrier.name;
}

bool runs_long() {
    const char* wish = std::getenv("VMRPC_TEST_LONG");  // NOLINT(concurrency-mt-unsafe): nobody sets it
    return wish != nullptr && std::string(wish) == "1";
}

std::vector<Carrier> carriers() {
    const Carrier usual{"dax_doorbell", "dax", "doorbell"};
    if (!runs_long()) return {usual};
    return {usual,
            {"dax_vsock", "dax", "vsock", "poll"},
            {"dax_poll", "dax", "poll"},
            {"bar_doorbell", "bar", "doorbell"},
            {"bar_poll", "bar", "poll"},
            {"ivshmem", "", "doorbell"}};
}

/// What QEMU connects to in the service's folder, once that has made it.
std::string socket_of(const Folder& folder, const std::string& name) {
    auto path = folder.path() + "/" + name;
    EXPECT_TRUE(soon([&] { return std::filesystem::exists(path); })) << path;
    return path;
}

void add_doorbell(GuestOptions& options, const std::string& socket) {
    options.doorbells.push_back({socket, 5});
    options.iommu = true;
    options.modules.insert(options.modules.end(), {"vfio-pci", "vfio_iommu_type1"});
    options.files.push_back({DOORBELL, "/vmrpc-doorbell"});
    options.environment.emplace_back("VMRPC_DOORBELL=/vmrpc-doorbell");
}

void add_vsock(GuestOptions& options, const std::string& socket) {
    options.modules.emplace_back("vmw_vsock_virtio_transport");
    options.qemu_args.insert(
        options.qemu_args.end(),
        {"-object", "memory-backend-memfd,id=ram,size=256M,share=on", "-machine", "memory-backend=ram", "-chardev",
         "socket,id=vsock,path=" + socket, "-device", "vhost-user-vsock-pci,chardev=vsock"});
}

/// The devices of the VM of that name.
void give(const Carrier& carrier, GuestOptions& options, const Folder& folder, const std::string& name) {
    if (carrier.is_plugged()) return options.doorbells.push_back({folder.socket(), 2});
    if (carrier.has_memory_file()) {
        const auto file = folder.path() + "/" + name + ".mem";
        if (!std::filesystem::exists(file)) {
            EXPECT_TRUE(transport::vm::make_memory_file(file, kSegmentBytes));
        }
        options.pmem = {{file, std::filesystem::file_size(file)}};
    }
    const auto stem = carrier.has_memory_file() ? name : "bar";
    if (carrier.ring == "vsock") return add_vsock(options, socket_of(folder, stem + ".vsock"));
    if (carrier.ring == "doorbell") return add_doorbell(options, socket_of(folder, stem + ".doorbell"));
    if (!carrier.has_memory_file()) return options.doorbells.push_back({socket_of(folder, "bar.doorbell"), 2});
    options.qemu_args = {"-chardev", "socket,id=line,reconnect=1,path=" + socket_of(folder, stem + ".poll")};
}

QmpReply plug_in_doorbell(Guest& guest, const std::string& socket, const std::string& port) {
    const auto chardev = "for-" + port;
    auto reply = guest.qmp("chardev-add", R"({"id": ")" + chardev +
                                              R"(", "backend": {"type": "socket", "data": {"server": false, )" +
                                              R"("addr": {"type": "unix", "data": {"path": ")" + socket + R"("}}}}})");
    if (!reply.ok()) return reply;
    return guest.qmp("device_add", R"({"driver": "ivshmem-doorbell", "vectors": 2, "id": "in-)" + port +
                                       R"(", "chardev": ")" + chardev + R"(", "bus": ")" + port + R"("})");
}

void each_round(const std::function<void()>& round) {
    const int rounds = runs_long() ? 10 : 1;
    for (int i = 1; i <= rounds && !testing::Test::HasFailure(); ++i) {
        SCOPED_TRACE("round " + std::to_string(i));
        round();
    }
}

GuestOptions running(const Carrier& carrier, const std::vector<std::string>& whats) {
    GuestOptions options;
    for (const auto& what : whats)
        options.commands.push_back(
            {{LIFE_CLIENT, what, carrier.guest_address(carrier.ring), carrier.guest_address(carrier.ring_after)}});
    options.files = {{SENTINEL, "/vmrpc-sentinel"}};
    options.environment = {"VMRPC_SENTINEL=/vmrpc-sentinel"};
    options.limit = seconds(240);
    return options;
}

GuestOptions connected(const Carrier& carrier, const Folder& folder, const std::string& name,
                       const std::vector<std::string>& whats) {
    auto options = running(carrier, whats);
    give(carrier, options, folder, name);
    return options;
}

class VmLife : public testing::TestWithParam<Carrier> {};

/// Waits for a line that begins with `begin`, prints it.
bool hear(Guest& guest, const std::string& begin) {
    const auto line = guest.wait_for_line(std::regex("^" + begin), seconds(90));
    if (line) std::puts(line->c_str());
    std::fflush(stdout);
    return line.has_value();
}

std::string said(Guest& guest) {
    const auto end = guest.wait_for(milliseconds(0));
    if (!end) return guest.output();
    return guest.output() + to_string(end->outcome) + " " + std::to_string(end->exit_code()) + " " + end->message;
}
#define HEAR(guest, begin) ASSERT_TRUE(hear(guest, begin)) << "no \"" << (begin) << "\" in:\n" << said((guest))

void pause_while_calling(Guest& guest) {
    for (int i = 0; i < 3; ++i) {
        std::this_thread::sleep_for(milliseconds(200));
        EXPECT_TRUE(guest.pause().ok());
        std::this_thread::sleep_for(milliseconds(700));
        EXPECT_TRUE(guest.resume().ok());
    }
}

/// So many connections are closed after what `end` does, and no other.
void expect_known(const life::Host& host, const char* what, std::uint32_t connections,
                  const std::function<void()>& end) {
    const auto before = host.closed.load();
    const auto start = Clock::now();
    end();
    EXPECT_TRUE(soon([&] { return host.closed >= before + connections; }, seconds(60)));
    std::printf("the server knew of %s after %.0f ms\n", what, ms_since(start));
    EXPECT_EQ(host.closed, before + connections);
}

/// The server calls into the VM while it stands still.
void pause_while_asking(Guest& guest, life::Host& host) {
    EXPECT_TRUE(soon([&] { return host.asking.load(); }));
    EXPECT_TRUE(guest.pause().ok());
    host.paused = true;
    EXPECT_TRUE(soon([&] { return host.answered.load(); }));
    std::printf("a call back of at most 200 ms ended after %.0f ms\n", host.answer_ms.load());
    EXPECT_EQ(host.answer, VMRPC_TIMED_OUT);
    EXPECT_TRUE(guest.resume().ok());
    host.paused = false;
}

TEST_P(VmLife, GoesOnAfterBootsRestartsAndPauses) {
    each_round([] {
        const Folder folder;
        life::Host host(GetParam().service(folder));
        ASSERT_TRUE(host.status()) << host.status().error().message();
        auto options = connected(GetParam(), folder, "a", {"boots", "restarts", "pauses"});
        options.reboot = true;
        options.commands.insert(options.commands.begin() + 1, {{"reboot", "3"}});
        Guest guest{options};
        HEAR(guest, "boot 1 is connected");
        EXPECT_TRUE(guest.reset().ok());
        HEAR(guest, "boot 2:");
        HEAR(guest, "boot 3:");
        HEAR(guest, "restarted");
        HEAR(guest, "working");
        pause_while_calling(guest);
        host.phase = 1;
        HEAR(guest, "after pauses");
        HEAR(guest, "asking");
        pause_while_asking(guest, host);
        HEAR(guest, "asked");
        const auto result = guest.wait();
        EXPECT_EQ(result.exit_code(), 0) << result.message << guest.output();
        EXPECT_EQ(result.boots, 3);
        EXPECT_TRUE(soon([&] { return host.all_are_closed(); })) << host.opened << " " << host.closed;
    });
}

/// A VM that goes on while others end, in a folder where a service serves.
struct Survival {
    const Carrier& carrier;
    const Folder folder = {};
    std::unique_ptr<life::Host> host = serve();

    std::unique_ptr<life::Host> serve() { return std::make_unique<life::Host>(carrier.service(folder)); }
};

/// One VM is killed while the survivor is served, comes back, and is killed again; another panics.
void end_the_others(Survival& here, GuestOptions killed_options, GuestOptions panicking_options) {
    panicking_options.commands[0].background = true;
    panicking_options.commands.push_back({{"panic"}});
    Guest panicking{panicking_options};
    HEAR(panicking, "victim");
    for (const char* what : {"a VM's end", "its end when it had come back"}) {
        Guest killed{killed_options};
        HEAR(killed, "victim");
        expect_known(*here.host, what, 1, [&] { ::kill(killed.qemu_pid(), SIGKILL); });
        killed.wait();
    }
    // Of the one who is waiting for this, and then panics, and of the one beside it.
    expect_known(*here.host, "a panic", 2, [&] { here.host->phase = 1; });
    EXPECT_EQ(panicking.wait().outcome, Outcome::kNoStatus);
}

void restart_the_server(Survival& here, Guest& survivor) {
    EXPECT_TRUE(survivor.pause().ok());
    here.host.reset();  // waits for nobody who stands still
    EXPECT_TRUE(survivor.resume().ok());
    HEAR(survivor, "lost");
    here.host = here.serve();
}

void expect_all_ended(Survival& here, Guest& survivor) {
    EXPECT_EQ(survivor.wait().exit_code(), 0) << survivor.output();
    EXPECT_TRUE(soon([&] { return here.host->all_are_closed(); })) << here.host->opened << " " << here.host->closed;
}

TEST_P(VmLife, IsNotThatOfTheOthers) {
    if (GetParam().is_plugged()) GTEST_SKIP() << "below";
    each_round([] {
        const Carrier& carrier = GetParam();
        Survival here{carrier};
        ASSERT_TRUE(here.host->status()) << here.host->status().error().message();
        Guest survivor{connected(carrier, here.folder, "survivor", {"survivor"})};
        HEAR(survivor, "connected");
        end_the_others(here, connected(carrier, here.folder, "killed", {"victim"}),
                       connected(carrier, here.folder, "panicking", {"victim", "until-phase-1"}));
        HEAR(survivor, "still served");
        restart_the_server(here, survivor);
        // Memory that is a file outlives the server; that of a device was the server's.
        HEAR(survivor, (carrier.has_memory_file() ? "connected" : "the VM is to be restarted"));
        expect_all_ended(here, survivor);
    });
}

// One that gets its device while it runs, and another one when the server restarts, as QEMU does not connect an old
// device anew. The old one stays: QEMU 7.2 goes on to watch the eventfds of an ivshmem-doorbell that was unplugged, and
// then crashes.
TEST(VmLifeWithHotPlug, BeginsWhenADeviceIsPluggedIn) {
    each_round([] {
        const Carrier carrier{"ivshmem", "", "doorbell"};
        Survival here{carrier};
        ASSERT_TRUE(here.host->status()) << here.host->status().error().message();
        auto options = running(carrier, {"plugged"});
        options.hotplug_ports = 2;
        Guest survivor{options};
        HEAR(survivor, "no device");
        const auto plugged = plug_in_doorbell(survivor, here.folder.socket(), "hotplug0");
        ASSERT_TRUE(plugged.ok()) << plugged.error;
        HEAR(survivor, "connected");
        here.host->phase = 1;
        HEAR(survivor, "still served");
        restart_the_server(here, survivor);
        const auto again = plug_in_doorbell(survivor, here.folder.socket(), "hotplug1");
        ASSERT_TRUE(again.ok()) << again.error;
        HEAR(survivor, "connected");
        expect_all_ended(here, survivor);
    });
}

INSTANTIATE_TEST_SUITE_P(All, VmLife, testing::ValuesIn(carriers()), [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace vmrpc::vm
