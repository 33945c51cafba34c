// What doorbell_test runs in a guest: doorbell_client WHAT [WORD…].
#include "transport/vm/doorbell/guest_doorbell.hpp"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace vmrpc;                 // NOLINT(google-build-using-namespace)
using namespace vmrpc::transport::vm;  // NOLINT(google-build-using-namespace)

constexpr std::uint32_t kHost = 0;
constexpr std::uint32_t kSelf = 1;
constexpr std::uint32_t kWorkers = 3;
constexpr int kPatienceMs = 20'000;
constexpr std::int64_t kLimitNs = 30'000'000'000;

#define EXPECT(condition)                                               \
    do {                                                                \
        if (!(condition)) {                                             \
            std::printf("line %d: not so: %s\n", __LINE__, #condition); \
            std::fflush(stdout);                                        \
            std::_Exit(1);                                              \
        }                                                               \
    } while (false)

template <class T>
T need(base::Result<T> result, int line) {
    if (!result) {
        std::printf("line %d: %d: %s\n", line, result.error().status, result.error().text.c_str());
        std::fflush(stdout);
        std::_Exit(1);
    }
    return std::move(*result);
}
#define NEED(expression) need(expression, __LINE__)

void say(const std::string& text) {
    std::printf("%s\n", text.c_str());
    std::fflush(stdout);
}

std::string first_line(const std::filesystem::path& path) {
    std::ifstream in(path);
    std::string line;
    std::getline(in, line);
    return line;
}

std::vector<std::string> find_devices() {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator("/sys/bus/pci/devices"))
        if (first_line(entry.path() / "vendor") == "0x1af4" && first_line(entry.path() / "device") == "0x1110")
            found.push_back(entry.path().filename());
    std::ranges::sort(found);
    return found;
}

const std::string& address(std::size_t number = 0) {
    static const std::vector<std::string> found = find_devices();
    EXPECT(number < found.size());
    return found[number];
}

std::string sysfs(const std::string& name) {
    return "/sys/bus/pci/devices/" + address() + "/" + name;
}

std::string group_node() {
    return "/dev/vfio/" + std::filesystem::read_symlink(sysfs("iommu_group")).filename().string();
}

base::Result<std::unique_ptr<GuestDoorbell>> open_doorbell(int proof = -1, std::size_t device = 0) {
    return GuestDoorbell::open(address(device), proof, base::Deadline::in(kLimitNs));
}

bool wait_until(const std::function<bool()>& done) {
    for (int i = 0; i < kPatienceMs; i += 5) {
        if (done()) return true;
        ::usleep(5000);
    }
    return false;
}

/// The vmrpc-doorbell processes of a device that are not dead yet.
std::vector<pid_t> brokers(std::size_t device = 0) {
    std::vector<pid_t> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        const std::string name = entry.path().filename();
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        if (first_line(entry.path() / "comm") == "vmrpc-doorbell" &&
            first_line(entry.path() / "cmdline").find(address(device)) != std::string::npos)
            found.push_back(std::stoi(name));
    }
    return found;
}

/// How often the vector has been rung since; 0 if it is not in time.
std::uint64_t wait_for(int interrupt, int limit_ms = kPatienceMs) {
    pollfd watched{interrupt, POLLIN, 0};
    std::uint64_t count = 0;
    if (::poll(&watched, 1, limit_ms) != 1) return 0;
    return ::read(interrupt, &count, sizeof count) == 8 ? count : 0;
}

/// From this VM to itself, through the device.
bool rings_itself(GuestDoorbell& doorbell, std::uint32_t vector) {
    const auto interrupt = NEED(doorbell.interrupt(vector));
    while (wait_for(interrupt.get(), 0) != 0) {  // what others left
    }
    for (int i = 0; i < 10; ++i) {
        doorbell.ring(kSelf, vector);
        if (wait_for(interrupt.get()) != 1) return false;
    }
    return true;
}

int status_of(pid_t child) {
    int status = -1;
    EXPECT(::waitpid(child, &status, 0) == child);
    return status;
}

template <class Body>
pid_t start(const Body& body) {
    const pid_t child = ::fork();
    if (child == 0) std::_Exit(body());
    return child;
}

/// As another user, with no group but this one.
template <class Body>
int as_user(uid_t user, gid_t group, const Body& body) {
    return status_of(start([&] {
        EXPECT(::setgroups(0, nullptr) == 0 && ::setgid(group) == 0 && ::setuid(user) == 0);
        return body();
    }));
}

bool fails(const base::Result<std::unique_ptr<GuestDoorbell>>& result, int status, const std::string& text) {
    if (!result && result.error().status == static_cast<vmrpc_status>(status) &&
        result.error().text.find(text) != std::string::npos)
        return true;
    say("wanted " + std::to_string(status) + " \"" + text + "\", got " +
        (result ? "a doorbell" : std::to_string(result.error().status) + ": " + result.error().text));
    return false;
}

/// A variable that children share.
template <class T>
std::atomic<T>* shared() {
    void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT(page != MAP_FAILED);
    return new (page) std::atomic<T>();
}

// ---- what it can be told to do

std::atomic<bool> told_to_end{false};

/// Answers each interrupt by a ring, until SIGTERM.
int answer_interrupts(std::uint32_t vector, const std::atomic<bool>& go) {
    struct sigaction action {};
    action.sa_handler = [](int) { told_to_end = true; };
    ::sigaction(SIGTERM, &action, nullptr);
    while (!go) ::sched_yield();
    const auto doorbell = NEED(open_doorbell());
    const auto interrupt = NEED(doorbell->interrupt(vector));
    say("answering on " + std::to_string(vector));
    while (!told_to_end) {
        const std::uint64_t count = wait_for(interrupt.get());
        for (std::uint64_t i = 0; i < count; ++i) doorbell->ring(kHost, vector);
    }
    return 0;
}

/// Three processes that open the device at once, one for each vector but 0, which is this one's: the host says by it
/// when to kill the second, and when to end.
int ping(const std::vector<std::string>&) {
    auto* go = shared<bool>();
    std::array<pid_t, kWorkers> workers{};
    for (std::uint32_t i = 0; i < kWorkers; ++i) workers[i] = start([&] { return answer_interrupts(i + 1, *go); });
    *go = true;
    const auto doorbell = NEED(open_doorbell());
    EXPECT(doorbell->vectors() == 4);
    const auto interrupt = NEED(doorbell->interrupt(0));
    EXPECT(wait_for(interrupt.get(), 60'000) == 1);
    ::kill(workers[1], SIGKILL);
    EXPECT(WIFSIGNALED(status_of(workers[1])));
    EXPECT(brokers().size() == 1);
    doorbell->ring(kHost, 0);
    EXPECT(wait_for(interrupt.get(), 60'000) == 1);
    ::kill(workers[0], SIGTERM);
    EXPECT(status_of(workers[0]) == 0);
    ::kill(workers[2], SIGKILL);
    EXPECT(WIFSIGNALED(status_of(workers[2])));
    EXPECT(rings_itself(*doorbell, 1));
    return 0;
}

/// The broker of what ran before ends by itself.
int broker_ends(const std::vector<std::string>&) {
    EXPECT(wait_until([] { return brokers().empty(); }));
    return 0;
}

/// BAR 2 through VFIO: what the host wrote is there, and it sees what is written.
int memory(const std::vector<std::string>&) {
    const auto doorbell = NEED(open_doorbell());
    const VfioRegion region = doorbell->memory();
    EXPECT(region.bytes == 1 << 20);
    void* mapped = ::mmap(nullptr, region.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, doorbell->device_descriptor(),
                          static_cast<off_t>(region.offset));
    EXPECT(mapped != MAP_FAILED);
    auto* words = static_cast<volatile std::uint64_t*>(mapped);
    for (std::uint64_t i = 0; i < 512; ++i) EXPECT(words[i] == i * 3);
    for (std::uint64_t i = 0; i < 512; ++i) words[512 + i] = i * 5;
    return 0;
}

/// Two devices, each with its broker.
int two_devices(const std::vector<std::string>&) {
    const std::array<std::unique_ptr<GuestDoorbell>, 2> doorbells{NEED(open_doorbell(-1, 0)),
                                                                  NEED(open_doorbell(-1, 1))};
    EXPECT(brokers(0).size() == 1 && brokers(1).size() == 1);
    for (const auto& doorbell : doorbells) {
        EXPECT(rings_itself(*doorbell, 0));
        EXPECT(doorbell->is_mapped());
    }
    return 0;
}

/// Registers that cannot be mapped, as those that share a page with another device's (here: for want of address space).
int not_mapped(const std::vector<std::string>&) {
    const auto mapped = NEED(open_doorbell());
    EXPECT(mapped->is_mapped());
    std::vector<std::vector<char>> room(64, std::vector<char>(4096));  // what malloc can use without asking the system
    room.clear();
    const std::string size = first_line("/proc/self/statm");
    rlimit limit{};
    EXPECT(::getrlimit(RLIMIT_AS, &limit) == 0);
    const rlim_t before = std::exchange(limit.rlim_cur, std::stoul(size) * 4096);
    EXPECT(::setrlimit(RLIMIT_AS, &limit) == 0);
    const auto doorbell = NEED(open_doorbell());
    limit.rlim_cur = before;
    EXPECT(::setrlimit(RLIMIT_AS, &limit) == 0);
    EXPECT(!doorbell->is_mapped());
    EXPECT(rings_itself(*doorbell, 1));
    return 0;
}

int no_such_vector(const std::vector<std::string>&) {
    const auto doorbell = NEED(open_doorbell());
    for (const std::uint32_t vector : {4U, 0xffff'ffffU}) {
        const auto interrupt = doorbell->interrupt(vector);
        EXPECT(!interrupt && interrupt.error().status == VMRPC_BAD_ARGUMENT);
    }
    EXPECT(rings_itself(*doorbell, 3));
    return 0;
}

/// A forked child has no descriptor, no mapping, and does no harm; it can open its own.
int forked(const std::vector<std::string>&) {
    const auto doorbell = NEED(open_doorbell());
    const auto interrupt = NEED(doorbell->interrupt(2));
    const pid_t child = start([&] {
        doorbell->ring(kSelf, 2);
        const auto refused = doorbell->interrupt(1);
        EXPECT(!refused && refused.error().status == VMRPC_CLOSED);
        EXPECT(doorbell->device_descriptor() == -1 && interrupt.get() == -1);
        return rings_itself(*NEED(open_doorbell()), 1) ? 0 : 1;
    });
    EXPECT(status_of(child) == 0);
    EXPECT(wait_for(interrupt.get(), 0) == 0);
    EXPECT(rings_itself(*doorbell, 2));
    return 0;
}

/// Two processes lose their broker, still hear and ring, and come back through another.
int broker_killed(const std::vector<std::string>&) {
    auto* ready = shared<int>();
    const auto body = [ready](std::uint32_t vector) {
        auto doorbell = NEED(open_doorbell());
        const auto interrupt = NEED(doorbell->interrupt(vector));
        ++*ready;
        pollfd watched{doorbell->broker_descriptor(), 0, 0};
        EXPECT(::poll(&watched, 1, kPatienceMs) == 1 && (watched.revents & POLLHUP) != 0);
        doorbell->ring(kSelf, vector);
        EXPECT(wait_for(interrupt.get()) == 1);
        const auto lost = doorbell->interrupt(vector);
        EXPECT(!lost && lost.error().status == VMRPC_PEER_LOST);
        doorbell.reset();
        doorbell = NEED(open_doorbell());
        EXPECT(rings_itself(*doorbell, vector));
        return 0;
    };
    auto other = NEED(open_doorbell());
    const auto first = brokers();
    EXPECT(first.size() == 1);
    std::array<pid_t, 2> users{start([&] { return body(1); }), start([&] { return body(2); })};
    EXPECT(wait_until([&] { return *ready == 2; }));
    // This one holds the device a little longer than the others: the new broker waits for it.
    ::kill(first.front(), SIGKILL);
    ::usleep(200'000);
    other.reset();
    for (const pid_t user : users) EXPECT(status_of(user) == 0);
    return 0;
}

/// Users other than root, with the group's node opened to them, or with nothing but the memory.
int unprivileged(const std::vector<std::string>&) {
    EXPECT(wait_until([] { return brokers().empty(); }));
    const auto user = [](int proof) {
        return [proof] { return rings_itself(*NEED(open_doorbell(proof)), 1) ? 0 : 1; };
    };
    EXPECT(as_user(1000, 1000,
                   [] { return fails(open_doorbell(), VMRPC_NOT_PERMITTED, "SUBSYSTEM==\"vfio\"") ? 0 : 1; }) == 0);
    // User 1000 starts the broker, root and others who may open the node use it.
    EXPECT(::chown(group_node().c_str(), 1000, 77) == 0 && ::chmod(group_node().c_str(), 0660) == 0);
    EXPECT(as_user(1000, 1000, user(-1)) == 0);
    EXPECT(brokers().size() == 1);
    EXPECT(user(-1)() == 0);
    const base::Fd memory(::open(sysfs("resource2").c_str(), O_RDWR | O_CLOEXEC));
    const base::Fd readable(::open(sysfs("resource2").c_str(), O_RDONLY | O_CLOEXEC));
    const base::Fd other(::open(sysfs("resource0").c_str(), O_RDWR | O_CLOEXEC));
    EXPECT(memory.valid() && readable.valid() && other.valid());
    for (const int proof : {-1, readable.get(), other.get()})
        EXPECT(as_user(1001, 77, [proof] {
                   return fails(open_doorbell(proof), VMRPC_NOT_PERMITTED, "has not shown") ? 0 : 1;
               }) == 0);
    EXPECT(as_user(1001, 1001, user(memory.get())) == 0);
    EXPECT(wait_until([] { return brokers().empty(); }));
    EXPECT(::chown(group_node().c_str(), 0, 0) == 0);
    return 0;
}

/// The memory of another device, which this one's interrupts tell of, is proof: opened for writing.
int dax(const std::vector<std::string>&) {
    EXPECT(wait_until([] { return brokers().empty(); }));
    const auto keeper = NEED(open_doorbell());  // the broker is root's
    const base::Fd memory(::open("/dev/dax0.0", O_RDWR | O_CLOEXEC));
    const base::Fd readable(::open("/dev/dax0.0", O_RDONLY | O_CLOEXEC));
    EXPECT(memory.valid() && readable.valid());
    EXPECT(as_user(1001, 1001, [&] { return rings_itself(*NEED(open_doorbell(memory.get())), 1) ? 0 : 1; }) == 0);
    EXPECT(as_user(1001, 1001, [&] {
               return fails(open_doorbell(readable.get()), VMRPC_NOT_PERMITTED, "has not shown") ? 0 : 1;
           }) == 0);
    return 0;
}

/// A broker that root starts at boot serves who has the memory, stays, and ends on SIGTERM.
int service(const std::vector<std::string>&) {
    EXPECT(wait_until([] { return brokers().empty(); }));
    const base::Fd memory(::open(sysfs("resource2").c_str(), O_RDWR | O_CLOEXEC));
    const pid_t broker = start([] {
        ::execl("/vmrpc-doorbell", "vmrpc-doorbell", "--stay", address().c_str(), nullptr);
        return 127;
    });
    const auto use = [&] {
        return as_user(1001, 1001, [&] { return rings_itself(*NEED(open_doorbell(memory.get())), 2) ? 0 : 1; });
    };
    EXPECT(wait_until([&] { return use() == 0; }));
    ::sleep(3);
    EXPECT(brokers() == std::vector<pid_t>{broker});
    EXPECT(use() == 0);
    ::kill(broker, SIGTERM);
    EXPECT(status_of(broker) == 0);
    return 0;
}

/// Somebody who may not use the device binds the broker's name: nobody shows it anything.
int stranger(const std::vector<std::string>&) {
    EXPECT(wait_until([] { return brokers().empty(); }));
    std::array<int, 2> ends{};
    EXPECT(::pipe(ends.data()) == 0);
    const pid_t squatter = start([&] {
        EXPECT(::setgroups(0, nullptr) == 0 && ::setgid(1002) == 0 && ::setuid(1002) == 0);
        const BrokerName name = broker_name(address());
        const int listener = ::socket(AF_UNIX, SOCK_SEQPACKET, 0);
        EXPECT(::bind(listener, reinterpret_cast<const sockaddr*>(&name.address), name.bytes) == 0);
        EXPECT(::listen(listener, 5) == 0 && ::write(ends[1], "x", 1) == 1);
        // What it is sent would make it end with 1.
        const int client = ::accept(listener, nullptr, nullptr);
        char byte = 0;
        return ::recv(client, &byte, 1, 0) == 0 ? 0 : 1;
    });
    char byte = 0;
    EXPECT(::read(ends[0], &byte, 1) == 1);
    EXPECT(fails(open_doorbell(), VMRPC_NOT_PERMITTED, "in place of its broker"));
    EXPECT(status_of(squatter) == 0);
    return 0;
}

/// Opening fails so: STATUS TEXT.
int open_fails(const std::vector<std::string>& words) {
    EXPECT(words.size() == 2);
    const auto result = open_doorbell();
    if (!result) say(result.error().text);
    return fails(result, std::stoi(words[0]), words[1]) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    const std::map<std::string, std::function<int(const std::vector<std::string>&)>> known{
        {"ping", ping},
        {"broker-ends", broker_ends},
        {"memory", memory},
        {"two-devices", two_devices},
        {"not-mapped", not_mapped},
        {"no-such-vector", no_such_vector},
        {"forked", forked},
        {"broker-killed", broker_killed},
        {"unprivileged", unprivileged},
        {"dax", dax},
        {"service", service},
        {"stranger", stranger},
        {"open-fails", open_fails},
    };
    const auto what = argc > 1 ? known.find(argv[1]) : known.end();
    if (what == known.end()) return 99;
    return what->second(std::vector<std::string>(argv + 2, argv + argc));
}
