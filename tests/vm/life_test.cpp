// What happens to VMs in their lives: processes are killed and started anew, the VM is paused, boots again, panics, is
// killed, gets its device while it runs, outlives its server. Each survivor knows, and whoever comes next is served.
// How soon somebody knew is printed; time limits here only tell a hang. $VMRPC_TEST_LONG=1: each ten times.
#include "guest.hpp"
#include "life_host.hpp"

#include <gtest/gtest.h>

#include <signal.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

namespace vmrpc::vm {
namespace {

// A way to get memory and a bell to a guest.
struct Carrier {
    const char* name;
    const char* scheme;         // on this host
    const char* guest_address;  // in the guest
    void (*give)(GuestOptions& options, const std::string& socket);
    QmpReply (*plug_in)(Guest& guest, const std::string& socket, const std::string& port);
};

void PrintTo(const Carrier& carrier, std::ostream* out) {
    *out << carrier.name;
}

void give_doorbell(GuestOptions& options, const std::string& socket) {
    options.doorbells.push_back({socket, 2});
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

constexpr std::array kCarriers{
    Carrier{"ivshmem", "ivshmem:", "ivshmem:", give_doorbell, plug_in_doorbell},
};

void each_round(const std::function<void()>& round) {
    const char* wish = std::getenv("VMRPC_TEST_LONG");  // NOLINT(concurrency-mt-unsafe): nobody sets it
    const int rounds = wish != nullptr && std::string(wish) == "1" ? 10 : 1;
    for (int i = 1; i <= rounds && !testing::Test::HasFailure(); ++i) {
        SCOPED_TRACE("round " + std::to_string(i));
        round();
    }
}

class VmLife : public testing::TestWithParam<Carrier> {
  protected:
    static GuestOptions running(const std::vector<std::string>& whats) {
        GuestOptions options;
        for (const auto& what : whats) options.commands.push_back({{LIFE_CLIENT, what, GetParam().guest_address}});
        options.files = {{SENTINEL, "/vmrpc-sentinel"}};
        options.environment = {"VMRPC_SENTINEL=/vmrpc-sentinel"};
        options.limit = seconds(240);
        return options;
    }
    static GuestOptions connected(const Folder& folder, const std::vector<std::string>& whats) {
        auto options = running(whats);
        GetParam().give(options, folder.socket());
        return options;
    }
};

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
        life::Host host(folder.address(GetParam().scheme));
        ASSERT_TRUE(host.status()) << host.status().error().message();
        auto options = connected(folder, {"boots", "restarts", "pauses"});
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

// One that gets its device while it runs, and goes on while another one panics and a third is killed.
TEST_P(VmLife, IsNotThatOfTheOthers) {
    each_round([] {
        const Folder folder;
        auto host = std::make_unique<life::Host>(folder.address(GetParam().scheme));
        ASSERT_TRUE(host->status()) << host->status().error().message();
        auto options = running({"plugged"});
        options.hotplug_ports = 2;
        Guest survivor{options};
        auto panicking_options = connected(folder, {"victim", "until-phase-1"});
        panicking_options.commands[0].background = true;
        panicking_options.commands.push_back({{"panic"}});
        Guest panicking{panicking_options};
        Guest killed{connected(folder, {"victim"})};

        HEAR(survivor, "no device");
        const auto plugged = GetParam().plug_in(survivor, folder.socket(), "hotplug0");
        ASSERT_TRUE(plugged.ok()) << plugged.error;
        HEAR(survivor, "connected");
        HEAR(killed, "victim");
        HEAR(panicking, "victim");
        expect_known(*host, "a VM's end", 1, [&] { ::kill(killed.qemu_pid(), SIGKILL); });
        // Of the one who is waiting for this, and then panics, and of the one beside it.
        expect_known(*host, "a panic", 2, [&] { host->phase = 1; });
        EXPECT_EQ(panicking.wait().outcome, Outcome::kNoStatus);
        HEAR(survivor, "still served");

        // The server restarts. Its VM gets another device for it, as QEMU does not connect an old one anew. The old one
        // stays: QEMU 7.2 goes on to watch the eventfds of an ivshmem-doorbell that was unplugged, and then crashes.
        EXPECT_TRUE(survivor.pause().ok());
        host.reset();  // waits for nobody who stands still
        EXPECT_TRUE(survivor.resume().ok());
        HEAR(survivor, "lost");
        host = std::make_unique<life::Host>(folder.address(GetParam().scheme));
        const auto again = GetParam().plug_in(survivor, folder.socket(), "hotplug1");
        ASSERT_TRUE(again.ok()) << again.error;
        HEAR(survivor, "connected");
        EXPECT_EQ(survivor.wait().exit_code(), 0) << survivor.output();
        EXPECT_TRUE(soon([&] { return host->all_are_closed(); })) << host->opened << " " << host->closed;
    });
}

INSTANTIATE_TEST_SUITE_P(All, VmLife, testing::ValuesIn(kCarriers),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace vmrpc::vm
