// What the harness's own tests run in the guest: `guest_probe WHAT [ARG]`.
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <string>

namespace {

using Args = const char* const*;

std::string first_line(const std::string& path) {
    std::ifstream in{path};
    std::string line;
    std::getline(in, line);
    return line;
}

int print(Args args) {
    for (; *args != nullptr; ++args) std::cout << *args << '\n';
    return 0;
}

int print_environment(Args args) {
    const char* value = std::getenv(args[0]);
    std::cout << (value != nullptr ? value : "(not set)") << '\n';
    return 0;
}

int exit_with(Args args) {
    return std::atoi(args[0]);
}

int die(Args args) {
    std::signal(SIGABRT, SIG_DFL);
    raise(std::atoi(args[0]));
    return 0;
}

int panic(Args) {
    std::ofstream{"/proc/sysrq-trigger"} << 'c' << std::flush;
    return 0;
}

int sleep_for_ever(Args) {
    std::cout << "sleeping" << std::endl;
    for (;;) pause();
}

// Leaves a process behind that nobody waits for.
int orphan(Args) {
    if (fork() == 0) sleep_for_ever(nullptr);
    return 0;
}

int module_loaded(Args args) {
    std::ifstream in{"/proc/modules"};
    for (std::string line; std::getline(in, line);)
        if (line.starts_with(std::string{args[0]} + " ")) return 0;
    return 1;
}

// Connects to the host's loopback and says who is here.
int greet_host(Args args) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(std::atoi(args[0])));
    inet_pton(AF_INET, "10.0.2.2", &address.sin_addr);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return 1;
    return write(fd, "guest", 5) == 5 ? 0 : 2;
}

int fill_port(Args args) {
    std::ofstream out{std::string{"/dev/virtio-ports/"} + args[0], std::ios::binary};
    for (int i = 0; i < 1'000'000; ++i) out.put(static_cast<char>('a' + i % 26));
    return out.flush() ? 0 : 1;
}

std::string find_ivshmem() {
    const std::string devices = "/sys/bus/pci/devices";
    DIR* folder = opendir(devices.c_str());
    while (const dirent* entry = folder != nullptr ? readdir(folder) : nullptr) {
        const auto path = devices + "/" + entry->d_name;
        if (first_line(path + "/vendor") == "0x1af4" && first_line(path + "/device") == "0x1110") return path;
    }
    return {};
}

// Maps BAR 2 at a fixed address, checks what the host wrote and answers in the second half of the page.
int exchange_memory(Args) {
    const auto device = find_ivshmem();
    if (device.empty()) return 1;
    std::ofstream{device + "/enable"} << 1 << std::flush;
    const int fd = open((device + "/resource2").c_str(), O_RDWR | O_CLOEXEC);
    auto* const wanted = reinterpret_cast<void*>(0x1100'0000'0000);
    void* memory = mmap(wanted, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
    if (memory != wanted) return 2;
    auto* const words = static_cast<volatile std::uint64_t*>(memory);
    for (std::uint64_t i = 0; i < 256; ++i)
        if (words[i] != i * 3) return 3;
    for (std::uint64_t i = 0; i < 256; ++i) words[256 + i] = i * 5;
    std::cout << "mapped at " << memory << '\n';
    return 0;
}

// The same with memory that a driver shows as a file.
int exchange_dax(Args args) {
    const int fd = open(args[0], O_RDWR | O_CLOEXEC);
    if (fd < 0) return 1;
    void* memory = mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) return 2;
    auto* const words = static_cast<volatile std::uint64_t*>(memory);
    for (std::uint64_t i = 0; i < 256; ++i)
        if (words[i] != i * 7) return 3;
    for (std::uint64_t i = 0; i < 256; ++i) words[256 + i] = i * 9;
    return 0;
}

int exists(Args args) {
    return access(args[0], F_OK) == 0 ? 0 : 1;
}

// whole-dax BYTES: the DAX device has that size; maps all of it at a fixed address, checks what the host wrote into its
// first and last word, and answers in the words next to them.
int exchange_whole_dax(Args args) {
    const std::size_t bytes = std::strtoull(args[0], nullptr, 10);
    const auto size = first_line("/sys/bus/dax/devices/dax0.0/size");
    std::cout << "/dev/dax0.0 has " << size << " bytes\n";
    if (size != args[0]) return 1;
    const int fd = open("/dev/dax0.0", O_RDWR | O_CLOEXEC);
    if (fd < 0) return 2;
    auto* const wanted = reinterpret_cast<void*>(0x1100'0000'0000);
    void* memory = mmap(wanted, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
    if (memory != wanted) return 3;
    auto* const words = static_cast<volatile std::uint64_t*>(memory);
    const std::size_t last = bytes / sizeof(std::uint64_t) - 1;
    if (words[0] != 0x3174736f'68207369 || words[last] != 0x3274736f'68207369) return 4;  // "is host1", "is host2"
    words[1] = 0x31747365'75672061;                                                       // "a guest1"
    words[last - 1] = 0x32747365'75672061;                                                // "a guest2"
    return 0;
}

// owner PATH GROUP MODE: a file or device of root, of that group, with that mode in octal digits.
int check_owner(Args args) {
    struct stat status {};
    if (stat(args[0], &status) != 0) return 1;
    std::cout << args[0] << ": group " << status.st_gid << ", mode " << std::oct << (status.st_mode & 07777) << '\n';
    return status.st_uid == 0 && status.st_gid == std::strtoul(args[1], nullptr, 10) &&
                   (status.st_mode & 07777) == std::strtoul(args[2], nullptr, 8)
               ? 0
               : 2;
}

// as USER GROUP PROGRAM ARG...: becomes that user, with no group but this one, for good.
int run_as(Args args) {
    const auto user = static_cast<uid_t>(std::atoi(args[0]));
    const auto group = static_cast<gid_t>(std::atoi(args[1]));
    if (setgroups(0, nullptr) != 0 || setresgid(group, group, group) != 0 || setresuid(user, user, user) != 0)
        return 98;
    execv(args[2], const_cast<char* const*>(args + 2));
    return 97;
}

}  // namespace

int main(int argc, char** argv) {
    const std::map<std::string, std::function<int(Args)>> known{
        {"print", print},
        {"env", print_environment},
        {"exit", exit_with},
        {"signal", die},
        {"panic", panic},
        {"sleep", sleep_for_ever},
        {"orphan", orphan},
        {"module", module_loaded},
        {"greet", greet_host},
        {"fill", fill_port},
        {"memory", exchange_memory},
        {"dax", exchange_dax},
        {"whole-dax", exchange_whole_dax},
        {"exists", exists},
        {"owner", check_owner},
        {"as", run_as},
    };
    const auto what = argc > 1 ? known.find(argv[1]) : known.end();
    if (what == known.end()) return 99;
    return what->second(argv + 2);
}
