// Boots a virtual machine, runs programs of this tree in it, and says how they ended.
//
//     vm::GuestOptions options;
//     options.commands = {{{"build/tests/unit_test", "--gtest_filter=Heap*"}}};
//     vm::Guest guest{options};
//     vm::GuestResult result = guest.wait();   // bounded by options.limit
//
// A guest leaves nothing: it uses no temporary file, and QEMU dies with this process, whatever ends it. The program
// vmrpc-vm is the same on the command line.
#pragma once

#include "guest_config.hpp"

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

namespace vmrpc::vm {

enum class Accelerator { kBest, kKvm, kTcg };

// A device whose peers ring each other; `socket` is where its server (ours, or any ivshmem server) listens.
struct IvshmemDoorbell {
    std::string socket;
    unsigned vectors = 1;
};

// A device that is only memory: `path` may be a file, or /proc/PID/fd/N for a memfd.
struct IvshmemPlain {
    std::string path;
    std::size_t bytes = 0;  // a power of two
};

// Memory that the guest has write-back: /dev/daxN.M if its byte 4096 holds a device-DAX info block, else /dev/pmemN.
// Needs no driver but the kernel's own, and no root. `path` as above.
struct VirtioPmem {
    std::string path;
    std::size_t bytes = 0;  // a multiple of 2 MiB
};

// /dev/virtio-ports/NAME in the guest; `backend` is what follows -chardev: "file,path=OUT",
// "socket,path=P,server=on,wait=off".
struct SerialPort {
    std::string name;
    std::string backend;
};

struct GuestFile {
    std::filesystem::path host_path;  // a file, with its libraries if it is a program, or a folder
    std::string guest_path;           // empty: the same absolute path as here
};

struct GuestOptions {
    // Run one after another, the status of the first that failed counts. A first word that names a file here is put
    // into the guest, with its libraries, at the same absolute path. Two more are known: "reboot" and "panic", as the
    // machine does when nobody gets a chance to do anything before; {"reboot", "2"} only if VMRPC_BOOT is below 2.
    std::vector<Command> commands;
    bool keep_going = false;  // run the other commands after one that failed
    // A reset or a panic boots the guest again, and the commands run again, with VMRPC_BOOT=2 and so on; else it ends.
    bool reboot = false;
    std::vector<std::string> environment;  // "NAME=value"
    std::vector<GuestFile> files;
    std::vector<std::string> modules;  // "name" or "name parameter=value ..."; what they depend on is added

    unsigned memory_mib = 256;
    unsigned cpus = 1;
    Accelerator accelerator = Accelerator::kBest;
    bool iommu = false;    // for vfio-pci
    bool network = false;  // eth0 is 10.0.2.15, the host's loopback is 10.0.2.2
    std::string tap;       // a TAP device of this host that eth0 is connected to instead; empty: QEMU's own network
    std::vector<IvshmemDoorbell> doorbells;
    std::vector<IvshmemPlain> memories;
    std::vector<VirtioPmem> pmem;  // the modules for it are added
    std::vector<SerialPort> ports;
    unsigned hotplug_ports = 0;          // places for device_add: bus=hotplug0, …, up to 4 GiB of memory in a device
    unsigned hotplug_memory_mib = 0;     // room for memory devices that come in that way
    std::vector<std::string> qemu_args;  // appended as they are
    std::string kernel_args;

    std::chrono::milliseconds limit{60'000};             // from start to end; then QEMU is killed
    std::function<void(std::string_view line)> on_line;  // on the guest's own thread; must not call into the Guest
    std::string qemu = "qemu-system-x86_64";             // looked for in PATH
    std::filesystem::path kernel_folder;                 // empty: build/vm/cloud (VMRPC_VM_DIR overrides build/vm)
};

enum class Outcome {
    kExited,       // the commands ran, see status
    kTimedOut,     // the limit passed
    kNoStatus,     // the kernel panicked, or powered off before the commands had ended
    kSetupFailed,  // something needed was missing or wrong before a command ran, see message
    kQemuMissing,
    kQemuFailed,  // QEMU ended on its own, see message
    kKilled,      // by kill(), or by somebody else
};

const char* to_string(Outcome outcome);

struct CommandStatus {
    int exit_code = 0;  // if signal is 0
    int signal = 0;
    int as_shell() const { return signal != 0 ? 128 + signal : exit_code; }
};

struct GuestResult {
    Outcome outcome = Outcome::kSetupFailed;
    int status = 0;                          // as a shell would say it, of the first command that failed
    std::vector<CommandStatus> statuses;     // of the last boot's commands that ended in the foreground, in order
    std::string message;                     // what went wrong and what to do about it, unless outcome is kExited
    int boots = 0;                           // in how many the commands were begun
    std::chrono::milliseconds boot_time{0};  // from start to the first command
    std::chrono::milliseconds total_time{0};

    bool passed() const { return outcome == Outcome::kExited && status == 0; }
    // status if the commands ran. Otherwise as timeout(1) and env(1) have it: 124 timed out, 123 no status, 125 set-up
    // failed, 126 QEMU failed, 127 QEMU missing, 137 killed.
    int exit_code() const;
};

// What QEMU answered to a command of its control channel.
struct QmpReply {
    std::string result;  // JSON
    std::string error;   // empty if it succeeded
    bool ok() const { return error.empty(); }
};

// All functions may be called from any thread.
class Guest {
  public:
    // Starts at once and does not fail: where no guest can be started the result says why.
    explicit Guest(GuestOptions options);
    ~Guest();  // kills the guest if it still runs
    Guest(const Guest&) = delete;
    Guest& operator=(const Guest&) = delete;

    // Blocks until the guest has ended, which it does within its limit.
    GuestResult wait();
    // The same for at most `timeout`; nothing if the guest still runs then.
    std::optional<GuestResult> wait_for(std::chrono::milliseconds timeout);

    // The first line with a match for `pattern` after the line that the last call returned. Nothing if there is none
    // until `timeout` or the guest's end.
    std::optional<std::string> wait_for_line(const std::regex& pattern, std::chrono::milliseconds timeout);

    // All console output so far: complete lines, each with '\n'.
    std::string output() const;

    // Pulls the plug: QEMU gets SIGKILL.
    void kill();

    // Runs one command of QEMU's control channel (QMP); `arguments` is a JSON object or nothing. Blocks until QEMU has
    // answered, or for `limit`. Error: what QEMU says; that QEMU has ended or did not answer.
    QmpReply qmp(const std::string& command, const std::string& arguments = {},
                 std::chrono::milliseconds limit = std::chrono::seconds{30});

    // The guest's processors stand still from the end of pause() until resume(). reset() is the button: the guest boots
    // again at once, without a chance to do anything before; without `options.reboot` it ends.
    QmpReply pause() { return qmp("stop"); }
    QmpReply resume() { return qmp("cont"); }
    QmpReply reset() { return qmp("system_reset"); }

    // QEMU's process, for tests that kill or stop it themselves; -1 if it could not be started. Only ours to use until
    // wait() has returned.
    pid_t qemu_pid() const;

    // One line that says which accelerator runs the guest, and why.
    std::string accelerator() const;

  private:
    class Run;
    std::unique_ptr<Run> run_;
};

}  // namespace vmrpc::vm
