// PID 1 of the guest: prepares the machine as the configuration says, runs the commands, reports how they ended, and
// ends the machine. Linked statically, as there is nothing else in the guest.
#include "guest_config.hpp"
#include "guest_network.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>

namespace vmrpc::vm {
namespace {

void report(const std::string& line) {
    for (const char c : line + "\n") outb(static_cast<unsigned char>(c), kReportPort);
}

[[noreturn]] void end_machine() {
    tcdrain(STDOUT_FILENO);  // what the commands wrote may still be on its way through the serial port
    outb(kExitValue, kExitPort);
    reboot(RB_POWER_OFF);
    for (;;) pause();
}

[[noreturn]] void fail(const std::string& what) {
    report("failed " + what);
    end_machine();
}

[[noreturn]] void fail_errno(const std::string& what) {
    fail(what + ": " + std::strerror(errno));
}

void mount_at(const char* type, const char* folder) {
    mkdir(folder, 0755);
    if (mount(type, folder, type, 0, nullptr) != 0) fail_errno(std::string{"cannot mount "} + folder);
}

void mount_file_systems() {
    mount_at("proc", "/proc");
    mount_at("sysfs", "/sys");
    mount_at("devtmpfs", "/dev");
    mount_at("devpts", "/dev/pts");
    mount_at("tmpfs", "/dev/shm");
    mount_at("tmpfs", "/run");
    mkdir("/tmp", 01777);  // part of the root, which is memory too: what comes from this host's /tmp lies there
    for (const char* folder : {"/tmp", "/dev/shm"}) chmod(folder, 01777);
}

// Output goes out as it is written, input is not read: a program that asks gets the end of file.
void open_console() {
    const int console = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
    const int nothing = open("/dev/null", O_RDWR);
    if (console < 0 || nothing < 0) fail_errno("cannot open the console");
    termios settings{};
    tcgetattr(console, &settings);
    cfmakeraw(&settings);
    tcsetattr(console, TCSANOW, &settings);
    dup2(nothing, STDIN_FILENO);
    dup2(console, STDOUT_FILENO);
    dup2(console, STDERR_FILENO);
    close(console);
    close(nothing);
}

GuestConfig read_config() {
    const int fd = open(kConfigPath, O_RDONLY);
    if (fd < 0) fail_errno(std::string{"cannot open "} + kConfigPath);
    std::string text;
    std::array<char, 4096> buffer;
    for (ssize_t bytes; (bytes = read(fd, buffer.data(), buffer.size())) > 0;)
        text.append(buffer.data(), static_cast<std::size_t>(bytes));
    close(fd);
    GuestConfig config;
    if (!parse(text, config)) fail(std::string{kConfigPath} + " is damaged");
    return config;
}

void load_modules(const GuestConfig& config) {
    for (const auto& module : config.modules) {
        const int fd = open(module.path.c_str(), O_RDONLY | O_CLOEXEC);
        if (fd < 0) fail_errno("cannot open " + module.path);
        if (syscall(SYS_finit_module, fd, module.parameters.c_str(), 0) != 0 && errno != EEXIST)
            fail_errno("cannot load " + module.path);
        close(fd);
    }
}

std::string first_line_of(const std::string& path) {
    std::array<char, 256> buffer{};
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    const auto bytes = fd < 0 ? 0 : read(fd, buffer.data(), buffer.size());
    if (fd >= 0) close(fd);
    const std::string text{buffer.data(), static_cast<std::size_t>(bytes < 0 ? 0 : bytes)};
    return text.substr(0, text.find('\n'));
}

// The links that udev would make: /dev/virtio-ports/NAME.
void link_ports() {
    constexpr char kPorts[] = "/sys/class/virtio-ports";
    DIR* folder = opendir(kPorts);
    if (folder == nullptr) return;
    mkdir("/dev/virtio-ports", 0755);
    while (const dirent* entry = readdir(folder)) {
        const std::string device = entry->d_name;
        const auto name = first_line_of(std::string{kPorts} + "/" + device + "/name");
        if (name.empty()) continue;
        const auto link = "/dev/virtio-ports/" + name;
        if (symlink(("../" + device).c_str(), link.c_str()) != 0 && errno != EEXIST) fail_errno("cannot make " + link);
    }
    closedir(folder);
}

// The device names its ports a moment after its module was loaded.
void wait_for_ports(const GuestConfig& config) {
    for (const auto& port : config.ports) {
        const auto path = "/dev/virtio-ports/" + port;
        for (int tries = 0; link_ports(), access(path.c_str(), F_OK) != 0; ++tries) {
            if (tries == 500) fail("no virtio-serial port '" + port + "' came up");
            usleep(10'000);
        }
    }
}

std::size_t count_pmem_nodes() {
    std::size_t count = 0;
    DIR* folder = opendir("/dev");
    while (const dirent* entry = folder != nullptr ? readdir(folder) : nullptr) {
        const std::string name = entry->d_name;
        count += name.starts_with("dax") || name.starts_with("pmem") ? 1 : 0;
    }
    if (folder != nullptr) closedir(folder);
    return count;
}

// The kernel looks at such memory after its driver is there, in a thread of its own. What it makes of memory that it
// cannot use, if anything, is for the commands to see.
void wait_for_pmem(const GuestConfig& config) {
    constexpr int kTries = 300;
    for (int tries = 0; count_pmem_nodes() < config.pmem_devices && tries < kTries; ++tries) usleep(10'000);
}

int count_boot() {
    outb(kBootCountIndex, kClockPort);
    const auto count = static_cast<unsigned char>(inb(kClockPort + 1) + 1);
    outb(count, kClockPort + 1);
    return count;
}

// "reboot" and "panic". The processes stay as they are until the machine is gone.
bool run_own(const std::vector<std::string>& args, int boot) {
    if (args[0] != kReboot && args[0] != kPanic) return false;
    if (args.size() > 1 && boot >= std::atoi(args[1].c_str())) return true;
    tcdrain(STDOUT_FILENO);
    if (args[0] == kReboot) reboot(RB_AUTOBOOT);
    const int trigger = open("/proc/sysrq-trigger", O_WRONLY);
    if (write(trigger, "c", 1) != 1) fail_errno("cannot panic");
    return true;
}

pid_t start(const Command& command) {
    const pid_t child = fork();
    if (child < 0) fail_errno("fork");
    if (child > 0) return child;
    setsid();
    std::vector<char*> argv;
    for (const auto& arg : command.args) argv.push_back(const_cast<char*>(arg.c_str()));
    argv.push_back(nullptr);
    execvp(argv[0], argv.data());
    dprintf(STDERR_FILENO, "cannot run %s: %s\n", argv[0], std::strerror(errno));
    _exit(127);
}

// Everything that has lost its parent is PID 1's to reap.
int wait_for(pid_t child) {
    for (;;) {
        int status = 0;
        const pid_t ended = waitpid(-1, &status, 0);
        if (ended == child) return status;
        if (ended < 0 && errno != EINTR) fail_errno("waitpid");
    }
}

bool run(const Command& command, int boot) {
    if (run_own(command.args, boot)) {
        report("exit 0");
        return true;
    }
    const pid_t child = start(command);
    if (command.background) return true;
    const int status = wait_for(child);
    if (WIFSIGNALED(status))
        report("signal " + std::to_string(WTERMSIG(status)));
    else
        report("exit " + std::to_string(WEXITSTATUS(status)));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void kill_the_rest() {
    kill(-1, SIGKILL);
    while (waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
    }
}

void set_environment(const GuestConfig& config, int boot) {
    setenv("VMRPC_BOOT", std::to_string(boot).c_str(), 1);
    setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin", 1);
    setenv("HOME", "/tmp", 1);
    setenv("TERM", "dumb", 1);
    for (const auto& entry : config.environment) putenv(const_cast<char*>(entry.c_str()));
}

int guest_main() {
    if (ioperm(kReportPort, 1, 1) != 0 || ioperm(kExitPort, 4, 1) != 0 || ioperm(kClockPort, 2, 1) != 0)
        reboot(RB_POWER_OFF);
    mount_file_systems();
    open_console();
    const auto config = read_config();
    load_modules(config);
    if (const auto error = start_network(config.address); !error.empty()) fail(error);
    wait_for_ports(config);
    wait_for_pmem(config);
    const int boot = count_boot();
    set_environment(config, boot);
    report("ready");
    for (const auto& command : config.commands)
        if (!run(command, boot) && !config.keep_going) break;
    kill_the_rest();
    report("done");
    end_machine();
}

}  // namespace
}  // namespace vmrpc::vm

int main() {
    return vmrpc::vm::guest_main();
}
