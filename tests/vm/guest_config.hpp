// What PID 1 of the guest is to do: one file in the initramfs, written by the host side of the harness and read by
// guest_init. The two constants for the ports are the other half of what both must agree on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vmrpc::vm {

inline constexpr char kConfigPath[] = "/guest.conf";

// Whatever guest_init writes to this port reaches the host byte by byte (isa-debugcon), apart from the console, where
// kernel messages may break into a line. Lines: "ready", "exit N", "signal N", "failed WHY", "done".
inline constexpr std::uint16_t kReportPort = 0xe9;

// Writing kExitValue here (isa-debug-exit) ends QEMU with kOrderlyExit, which no failure of QEMU's own gives.
inline constexpr std::uint16_t kExitPort = 0xf4;
inline constexpr std::uint8_t kExitValue = 21;
inline constexpr int kOrderlyExit = (kExitValue << 1) | 1;

// The clock chip's memory outlives a reset. Its last byte counts the boots: nothing else uses it.
inline constexpr std::uint16_t kClockPort = 0x70;  // an index; the byte is at the next port
inline constexpr std::uint8_t kBootCountIndex = 0x7f;

// Commands of PID 1's own.
inline constexpr std::string_view kReboot = "reboot";
inline constexpr std::string_view kPanic = "panic";

struct ModuleLoad {
    std::string path;  // in the guest
    std::string parameters;
};

struct Command {
    std::vector<std::string> args;
    bool background = false;  // started and left running while the next ones run; killed at the end
};

struct GuestConfig {
    std::vector<ModuleLoad> modules;       // in load order
    std::string address;                   // of eth0, "10.0.2.15"; empty: no network but loopback
    std::vector<std::string> ports;        // virtio-serial ports to wait for before the first command
    std::size_t pmem_devices = 0;          // the same, but for a short while only
    std::vector<std::string> environment;  // "NAME=value"
    std::vector<Command> commands;
    bool keep_going = false;  // run the next command after one that failed
};

std::string serialize(const GuestConfig& config);

// Reads what serialize() wrote. Returns false where the text is not that.
bool parse(std::string_view text, GuestConfig& config);

}  // namespace vmrpc::vm
