// What a test can do to a guest while it runs, and that it can boot again.
#include "guest.hpp"
#include "qemu_command.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace vmrpc::vm {
namespace {

using std::chrono::seconds;

constexpr seconds kBootLimit{60};

// Boot 1 ends by a reboot, boot 2 by a panic, boot 3 by the button; the limit is for all of them.
TEST(GuestControl, BootsAgainAndIsPaused) {
    GuestOptions options;
    options.reboot = true;
    options.limit = seconds{200};
    options.commands = {{{PROBE, "env", "VMRPC_BOOT"}}, {{"reboot", "2"}}, {{"panic", "3"}}, {{PROBE, "sleep"}}};
    Guest guest{options};
    for (const char* boot : {"^1$", "^2$", "^3$", "^sleep"})
        ASSERT_TRUE(guest.wait_for_line(std::regex{boot}, kBootLimit)) << guest.output();

    EXPECT_TRUE(guest.pause().ok());
    EXPECT_NE(guest.qmp("query-status").result.find("paused"), std::string::npos);
    EXPECT_TRUE(guest.resume().ok());
    EXPECT_NE(guest.qmp("query-status").result.find("running"), std::string::npos);

    EXPECT_TRUE(guest.reset().ok());
    for (const char* boot : {"^4$", "^sleep"})
        ASSERT_TRUE(guest.wait_for_line(std::regex{boot}, kBootLimit)) << guest.output();
    EXPECT_TRUE(guest.qmp("quit").ok());
    const auto result = guest.wait();
    EXPECT_EQ(result.outcome, Outcome::kNoStatus);
    EXPECT_EQ(result.boots, 4);
}

// Stopped before its first instruction, so that nothing of this waits for a boot.
TEST(GuestControl, SaysWhatIsWrong) {
    GuestOptions options;
    options.commands = {{{PROBE, "sleep"}}};
    options.qemu_args = {"-S"};
    Guest guest{options};
    EXPECT_NE(guest.qmp("no-such-command").error.find("no-such-command"), std::string::npos);
    EXPECT_FALSE(guest.qmp("device_add", R"({"driver": "no-such-device"})").ok());
    EXPECT_NE(guest.qmp("device_add", "[1]").error.find("no JSON object"), std::string::npos);
    EXPECT_TRUE(guest.reset().ok());  // ends it, as it must not boot again
    EXPECT_EQ(guest.wait().outcome, Outcome::kNoStatus);
    EXPECT_EQ(guest.qmp("query-status").error, "QEMU has ended");
}

TEST(GuestControl, OfAGuestThatWasNotStarted) {
    GuestOptions options;
    options.commands = {{{"/no/such/program"}}};
    Guest guest{options};
    EXPECT_EQ(guest.pause().error, "QEMU was not started");
}

TEST(QemuCommand, HasRoomForWhatComesLater) {
    GuestOptions options;
    options.hotplug_ports = 2;
    options.hotplug_memory_mib = 128;
    options.reboot = true;
    const auto args = qemu_command("qemu", "vmlinux", options, {});
    const auto has = [&](const std::string& text) { return std::find(args.begin(), args.end(), text) != args.end(); };
    EXPECT_TRUE(has("pcie-root-port,id=hotplug1,chassis=2,slot=1,pref64-reserve=4G"));
    EXPECT_TRUE(has("256,slots=2,maxmem=2432M"));
    EXPECT_FALSE(has("-no-reboot"));
}

}  // namespace
}  // namespace vmrpc::vm
