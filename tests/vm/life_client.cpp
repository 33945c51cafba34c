// What life_test runs in its guests: `life_client WHAT ADDRESS`. Exits with 0 if all was as it should be, else says
// what was not.
#include "guest_children.hpp"
#include "life_functions.hpp"

#include <dirent.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace ivshmem_test;  // what programs in guests share

int boot_number() {
    const char* number = std::getenv("VMRPC_BOOT");
    return number != nullptr ? std::atoi(number) : 0;
}

std::string text_of(double ms) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.1f", ms);
    return text.data();
}

// Memory of this process alone, which another one's region was before, or will be.
class Pattern {
  public:
    explicit Pattern(const vmrpc::Client& client)
        : client_(client), values_(NEED(client.heap().make_array<std::uint64_t>(kCount))) {
        for (std::size_t i = 0; i < kCount; ++i) values_[i] = value(i);
    }
    void check() const {
        std::uint64_t expected = 0;
        for (std::size_t i = 0; i < kCount; ++i) expected += value(i);
        EXPECT(NEED(client_.call<life::sum>(values_)) == expected);
    }

  private:
    static constexpr std::size_t kCount = 20'000;
    static std::uint64_t value(std::size_t i) { return i * static_cast<std::uint64_t>(::getpid()); }
    const vmrpc::Client& client_;
    vmrpc::Array<std::uint64_t> values_;
};

void check_some(const vmrpc::Client& client, const Pattern& pattern, std::int64_t round) {
    for (std::int64_t i = 0; i < 50; ++i) EXPECT(NEED(client.call<life::add>(round, i)) == round + i);
    EXPECT(NEED(client.call<life::slow_add>(round, -1, 1U)) == round - 1);
    pattern.check();
}

std::atomic<bool> told_to_end{false};

// Calls until told to end.
int steady() {
    struct sigaction action {};
    action.sa_handler = [](int) { told_to_end = true; };
    ::sigaction(SIGTERM, &action, nullptr);
    const auto client = join();
    const Pattern pattern(client);
    say("steady");
    std::int64_t rounds = 0;
    while (!told_to_end) check_some(client, pattern, rounds++);
    return rounds > 0 ? 0 : 1;
}

// Calls until it is ended.
int victim() {
    const auto client = join();
    const Pattern pattern(client);
    say("victim");
    for (std::int64_t round = 0;; ++round) check_some(client, pattern, round);
}

// Each of the killed is closed, once, and the one that goes on notices nothing.
int restarts() {
    constexpr int times = 20;
    const auto client = join();
    const pid_t other = spawn_until_it_speaks("steady");
    const auto closed = [&] { return NEED(client.call<life::closed_count>()); };
    const auto before = closed();
    std::vector<double> known_ms;
    for (std::uint32_t i = 1; i <= times; ++i) {
        const pid_t child = spawn_until_it_speaks("victim");
        std::this_thread::sleep_for(milliseconds(i));  // another place in its calls each time
        ::kill(child, SIGKILL);
        EXPECT(WTERMSIG(status_of(child)) == SIGKILL);
        const auto start = Clock::now();
        EXPECT(soon([&] { return closed() >= before + i; }));
        known_ms.push_back(ms_since(start));
        EXPECT(closed() == before + i);
    }
    ::kill(other, SIGTERM);
    EXPECT(status_of(other) == 0);
    EXPECT(soon([&] { return closed() >= before + times + 1; }));
    EXPECT(closed() == before + times + 1);
    std::sort(known_ms.begin(), known_ms.end());
    say("restarted: the server knew after " + text_of(known_ms[times / 2]) + " ms, at most " +
        text_of(known_ms.back()) + " ms");
    return 0;
}

// What was on its way when the VM was stopped.
struct Tally {
    std::atomic<std::uint32_t> right{0};
    std::atomic<std::uint32_t> timed_out{0};
    std::uint32_t noted = 0;
};

void call_with_limit(const vmrpc::Client& client, Tally& tally) {
    using Sum = decltype(client.async_within<life::slow_add>(milliseconds(1), 0, 0, 0U));
    std::vector<Sum> sums;
    for (std::int64_t i = 0; i < 4; ++i)
        sums.push_back(client.async_within<life::slow_add>(milliseconds(300), i, 7, 20U));
    for (std::int64_t i = 0; i < 4; ++i) {
        const auto sum = sums[static_cast<std::size_t>(i)].get();
        if (sum) {
            EXPECT(*sum == i + 7);
            ++tally.right;
        } else {
            EXPECT(sum.error().status == VMRPC_TIMED_OUT);
            ++tally.timed_out;
        }
    }
}

void work_until(const vmrpc::Client& client, std::uint32_t phase, Tally& tally) {
    std::atomic<bool> done{false};
    std::thread limited([&] {
        while (!done) call_with_limit(client, tally);
    });
    std::thread unlimited([&] {
        for (std::int64_t i = 0; !done; ++i) EXPECT(NEED(client.call<life::slow_add>(i, 1, 50U)) == i + 1);
    });
    std::thread posting([&] {
        for (; !done; ++tally.noted) {
            NEED(client.post<life::note>());
            std::this_thread::sleep_for(milliseconds(1));
        }
    });
    while (NEED(client.call<life::phase>()) < phase) std::this_thread::sleep_for(milliseconds(20));
    done = true;
    for (auto* thread : {&limited, &unlimited, &posting}) thread->join();
}

// The test stops and continues the VM meanwhile.
int pauses() {
    const auto client = join();
    NEED(client.call<life::noted>());
    say("working");
    Tally tally;
    work_until(client, 1, tally);
    say("after pauses: " + std::to_string(tally.right) + " right, " + std::to_string(tally.timed_out) + " timed out, " +
        std::to_string(tally.noted) + " posted");
    EXPECT(tally.right > 0 && tally.noted > 0);
    std::uint64_t noted = 0;
    EXPECT(soon([&] { return (noted += NEED(client.call<life::noted>())) >= tally.noted; }));
    EXPECT(noted == tally.noted);
    // Limits are as they were.
    EXPECT(client.call_within<life::slow_add>(milliseconds(300), 1, 1, 900U).error().status == VMRPC_TIMED_OUT);
    const Pattern pattern(client);
    for (std::int64_t round = 0; round < 10; ++round) check_some(client, pattern, round);

    const auto twice = [](std::int32_t value) { return 2 * value; };
    say("asking");
    EXPECT(NEED(client.call<life::ask>(twice)) == 16);
    for (std::int64_t round = 0; round < 10; ++round) check_some(client, pattern, round);
    say("asked");
    return 0;
}

// Connections of the last boot, whose end nobody could tell of, are found by the next one's first; then leaves some
// for the next boot, beyond a place that is free. The first boot is ended by the test.
int boots() {
    const int boot = boot_number();
    const auto connecting = Clock::now();
    std::optional<vmrpc::Client> client(join());
    EXPECT(NEED(client->call<life::add>(boot, 1)) == boot + 1);
    EXPECT(soon([&] { return NEED(client->call<life::open_count>()) == 1; }));
    say("boot " + std::to_string(boot) + ": those of the last one were closed " + text_of(ms_since(connecting)) +
        " ms after this one began to connect");
    check_some(*client, Pattern(*client), boot);
    if (boot == 3) return 0;
    for (int i = 0; i < 2; ++i) spawn_until_it_speaks("victim");
    EXPECT(NEED(client->call<life::open_count>()) == 3);
    client.reset();
    say("boot " + std::to_string(boot) + " is connected");
    while (boot == 1) ::pause();
    return 0;
}

// Until the test has come so far.
int until_phase_1() {
    const auto client = join();
    while (NEED(client.call<life::phase>()) < 1) std::this_thread::sleep_for(milliseconds(20));
    return 0;
}

// The addresses of ivshmem devices, sorted.
std::vector<std::string> devices() {
    const std::string folder = "/sys/bus/pci/devices";
    std::vector<std::string> found;
    DIR* listing = ::opendir(folder.c_str());
    while (const dirent* entry = ::readdir(listing)) {
        std::ifstream in(folder + "/" + entry->d_name + "/device");
        std::string id;
        if (std::getline(in, id) && id == "0x1110") found.emplace_back(entry->d_name);
    }
    ::closedir(listing);
    std::sort(found.begin(), found.end());
    return found;
}

// A client that waits for its device.
vmrpc::Client join_when_there() {
    constexpr int limit_ms = 90'000;
    bool told = false;
    const auto start = Clock::now();
    for (;;) {
        auto client = vmrpc::Client::connect(address);
        if (client) {
            say("connected after " + text_of(ms_since(start)) + " ms");
            return std::move(*client);
        }
        const bool absent = client.error().status == VMRPC_NO_SERVER &&
                            client.error().message().find("no ivshmem device") != std::string::npos;
        if (absent && !std::exchange(told, true)) say("no device");
        if (ms_since(start) > limit_ms) NEED(std::move(client));
        std::this_thread::sleep_for(milliseconds(10));
    }
}

std::string later_address;  // when the server has restarted

// Served until the others have gone, and then until the server goes.
void outlive_others_and_server() {
    const auto client = join_when_there();
    std::int64_t round = 0;
    const Pattern pattern(client);
    while (NEED(client.call<life::phase>()) < 1 || NEED(client.call<life::open_count>()) > 1)
        check_some(client, pattern, round++);
    for (int more = 0; more < 10; ++more) check_some(client, pattern, round++);
    say("still served after " + std::to_string(round) + " rounds");
    auto answer = client.call<life::add>(1, 1);
    while (answer) answer = client.call<life::add>(1, 1);
    EXPECT(VMRPC_REMEDY(answer.error().status) == VMRPC_REMEDY_RECONNECT ||
           answer.error().status == VMRPC_SHUTTING_DOWN);
    say("lost: " + answer.error().message());
}

void be_served() {
    const auto client = join_when_there();
    const Pattern pattern(client);
    for (std::int64_t round = 0; round < 10; ++round) check_some(client, pattern, round);
}

// Served by one server, then by the next, if the memory is not the first one's own.
int survivor() {
    outlive_others_and_server();
    if (address.find("memory=bar") != std::string::npos) {
        expect_error(vmrpc::Client::connect(address), VMRPC_NO_SERVER, "has ended", __LINE__);
        say("the VM is to be restarted");
        return 0;
    }
    address = later_address;
    be_served();
    return 0;
}

// The same through one device, and then through another: the old one stays without a server.
int plugged() {
    outlive_others_and_server();
    const auto start = Clock::now();
    while (devices().size() < 2 && ms_since(start) < 90'000) std::this_thread::sleep_for(milliseconds(10));
    expect_error(vmrpc::Client::connect(address + devices().front()), VMRPC_NO_SERVER, "has ended", __LINE__);
    address += devices().back();
    be_served();
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::map<std::string, int (*)()> known{
        {"steady", steady},   {"victim", victim},     {"restarts", restarts},
        {"pauses", pauses},   {"boots", boots},       {"until-phase-1", until_phase_1},
        {"plugged", plugged}, {"survivor", survivor},
    };
    if (argc != 3 && argc != 4) return 99;
    address = argv[2];
    if (argc == 4) later_address = argv[3];
    const auto what = known.find(argv[1]);
    return what != known.end() ? what->second() : 99;
}
