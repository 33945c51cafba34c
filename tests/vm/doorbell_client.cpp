// What doorbell_test runs in a guest: doorbell_client WHAT [WORD…].
#include "doorbell_guest.hpp"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace doorbell_test {
namespace {

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
int ping(const Words&) {
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

/// BAR 2 through VFIO: what the host wrote is there, and it sees what is written.
int memory(const Words&) {
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
int two_devices(const Words&) {
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
int not_mapped(const Words&) {
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

int no_such_vector(const Words&) {
    const auto doorbell = NEED(open_doorbell());
    for (const std::uint32_t vector : {4U, 0xffff'ffffU}) {
        const auto interrupt = doorbell->interrupt(vector);
        EXPECT(!interrupt && interrupt.error().status == VMRPC_BAD_ARGUMENT);
    }
    EXPECT(rings_itself(*doorbell, 3));
    return 0;
}

/// A forked child has no descriptor, no mapping, and does no harm; it can open its own.
int forked(const Words&) {
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

/// Opening fails so: STATUS TEXT.
int open_fails(const Words& words) {
    EXPECT(words.size() == 2);
    const auto result = open_doorbell();
    if (!result) say(result.error().text);
    return fails(result, std::stoi(words[0]), words[1]) ? 0 : 1;
}

int run(int argc, char** argv) {
    const std::map<std::string, int (*)(const Words&)> known{
        {"ping", ping},
        {"memory", memory},
        {"two-devices", two_devices},
        {"not-mapped", not_mapped},
        {"no-such-vector", no_such_vector},
        {"forked", forked},
        {"open-fails", open_fails},
    };
    if (argc < 2) return 99;
    const Words words(argv + 2, argv + argc);
    const auto what = known.find(argv[1]);
    return what != known.end() ? what->second(words) : brokers_test(argv[1], words);
}

}  // namespace
}  // namespace doorbell_test

int main(int argc, char** argv) {
    return doorbell_test::run(argc, argv);
}
