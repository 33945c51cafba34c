// The ways in which a guest can end, each told from the others, and that none leaves anything.
#include "guest.hpp"
#include "guest_image.hpp"

#include <gtest/gtest.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

namespace vmrpc::vm {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kBootLimit{60};

GuestOptions running(std::vector<std::string> args) {
    GuestOptions options;
    options.commands = {{std::move(args)}};
    return options;
}

std::set<std::string> names_in(const fs::path& folder) {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator{folder}) names.insert(entry.path().filename());
    return names;
}

// A process that nobody has reaped yet has ended all the same.
bool is_running(pid_t pid) {
    std::ifstream in{"/proc/" + std::to_string(pid) + "/stat"};
    std::string number;
    std::string name;
    std::string state;
    in >> number >> name >> state;
    return !state.empty() && state != "Z" && state != "X";
}

bool ends_soon(pid_t pid) {
    for (int tries = 0; is_running(pid); ++tries) {
        if (tries == 500) return false;
        std::this_thread::sleep_for(milliseconds{10});
    }
    return true;
}

class GuestEnd : public testing::Test {
  protected:
    void SetUp() override {
        ASSERT_TRUE(fs::exists(folder_)) << "run tests/vm/fetch_kernel.sh";
        files_before_ = names_in(folder_);
        descriptors_before_ = names_in("/proc/self/fd").size();
    }

    void TearDown() override {
        EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a process is left";
        EXPECT_EQ(errno, ECHILD);
        EXPECT_EQ(names_in(folder_), files_before_);
        EXPECT_EQ(names_in("/proc/self/fd").size(), descriptors_before_);
    }

    const fs::path folder_ = kernel_folder({}).parent_path();
    std::set<std::string> files_before_;
    std::size_t descriptors_before_ = 0;
};

TEST_F(GuestEnd, Success) {
    Guest guest{running({PROBE, "exit", "0"})};
    const auto result = guest.wait();
    EXPECT_TRUE(result.passed()) << result.message;
    EXPECT_GT(result.boot_time, milliseconds{0});
    EXPECT_GE(result.total_time, result.boot_time);
    EXPECT_FALSE(is_running(guest.qemu_pid()));
}

TEST_F(GuestEnd, TheFirstFailureEndsTheListOfCommands) {
    auto options = running({PROBE, "exit", "200"});
    options.commands.push_back({{PROBE, "print", "not reached"}});
    Guest guest{options};
    const auto result = guest.wait();
    EXPECT_EQ(result.exit_code(), 200) << result.message;
    EXPECT_EQ(result.statuses.size(), 1U);
    EXPECT_EQ(guest.output().find("not reached"), std::string::npos);
}

TEST_F(GuestEnd, Panic) {
    Guest guest{running({PROBE, "panic"})};
    const auto result = guest.wait();
    EXPECT_EQ(result.outcome, Outcome::kNoStatus);
    EXPECT_NE(result.message.find("Kernel panic"), std::string::npos) << result.message;
    EXPECT_EQ(result.exit_code(), 123);
}

TEST_F(GuestEnd, LimitEndsAProgramThatDoesNot) {
    auto options = running({PROBE, "sleep"});
    options.limit = milliseconds{2500};
    Guest guest{options};
    EXPECT_FALSE(guest.wait_for(milliseconds{10}));
    const auto result = guest.wait();
    EXPECT_EQ(result.outcome, Outcome::kTimedOut);
    EXPECT_EQ(result.exit_code(), 124);
    EXPECT_NE(result.message.find("2500 ms"), std::string::npos) << result.message;
}

TEST_F(GuestEnd, LimitEndsAVmThatDoesNotBoot) {
    auto options = running({PROBE, "exit", "0"});
    options.qemu_args = {"-S"};  // made, but never started
    options.limit = milliseconds{1000};
    Guest guest{options};
    const auto result = guest.wait();
    EXPECT_EQ(result.outcome, Outcome::kTimedOut);
    EXPECT_NE(result.message.find("it printed nothing"), std::string::npos) << result.message;
    EXPECT_EQ(result.boot_time.count(), 0);
}

TEST_F(GuestEnd, Kill) {
    Guest guest{running({PROBE, "sleep"})};
    EXPECT_TRUE(guest.wait_for_line(std::regex{"^sleep"}, kBootLimit)) << guest.output();
    guest.kill();
    EXPECT_EQ(guest.wait().outcome, Outcome::kKilled);
    EXPECT_FALSE(guest.wait_for_line(std::regex{"."}, kBootLimit));  // returns at once, as nothing more can come
}

TEST_F(GuestEnd, DestructorKills) {
    pid_t qemu = -1;
    {
        Guest guest{running({PROBE, "sleep"})};
        qemu = guest.qemu_pid();
        EXPECT_TRUE(is_running(qemu));
    }
    EXPECT_FALSE(is_running(qemu));
}

TEST_F(GuestEnd, SomebodyElseKillsQemu) {
    for (const int signal : {SIGKILL, SIGTERM}) {
        Guest guest{running({PROBE, "sleep"})};
        std::this_thread::sleep_for(milliseconds{300});  // until QEMU handles SIGTERM; if it is slow the signal ends it
        ::kill(guest.qemu_pid(), signal);
        EXPECT_EQ(guest.wait().outcome, Outcome::kKilled) << guest.wait().message;
    }
}

TEST_F(GuestEnd, QemuIsMissing) {
    const std::string path = std::getenv("PATH");
    setenv("PATH", "", 1);
    const auto result = Guest{running({PROBE, "exit", "0"})}.wait();
    setenv("PATH", path.c_str(), 1);
    EXPECT_EQ(result.outcome, Outcome::kQemuMissing);
    EXPECT_NE(result.message.find("apt-get install qemu-system-x86"), std::string::npos) << result.message;
    EXPECT_EQ(result.exit_code(), 127);
}

TEST_F(GuestEnd, QemuFails) {
    auto options = running({PROBE, "exit", "0"});
    options.qemu_args = {"-device", "no-such-device"};
    const auto result = Guest{options}.wait();
    EXPECT_EQ(result.outcome, Outcome::kQemuFailed);
    EXPECT_NE(result.message.find("no-such-device"), std::string::npos) << result.message;
    EXPECT_EQ(result.exit_code(), 126);
}

TEST_F(GuestEnd, WhatIsMissingHereIsNamed) {
    auto no_kernel = running({PROBE, "exit", "0"});
    no_kernel.kernel_folder = "/no/such/folder";
    auto no_module = running({PROBE, "exit", "0"});
    no_module.modules = {"no_such_module"};
    auto no_file = running({PROBE, "exit", "0"});
    no_file.files = {{"/no/such/file", ""}};
    const std::vector<std::pair<GuestOptions, std::string>> cases{{no_kernel, "tests/vm/fetch_kernel.sh"},
                                                                  {no_module, "no_such_module"},
                                                                  {no_file, "/no/such/file"},
                                                                  {running({"/no/such/program"}), "/no/such/program"}};
    for (const auto& [options, named] : cases) {
        const auto result = Guest{options}.wait();
        EXPECT_EQ(result.outcome, Outcome::kSetupFailed);
        EXPECT_NE(result.message.find(named), std::string::npos) << result.message;
        EXPECT_EQ(result.exit_code(), 125);
    }
}

TEST_F(GuestEnd, WhatFailsInTheGuestIsNamed) {
    auto options = running({PROBE, "exit", "0"});
    options.modules = {"fuse max_user_bgreq=nonsense"};
    const auto result = Guest{options}.wait();
    EXPECT_EQ(result.outcome, Outcome::kSetupFailed);
    EXPECT_NE(result.message.find("cannot load /modules/fuse.ko: Invalid argument"), std::string::npos)
        << result.message;
}

TEST_F(GuestEnd, TwoAtOnce) {
    Guest first{running({PROBE, "exit", "1"})};
    Guest second{running({PROBE, "exit", "2"})};
    EXPECT_NE(first.qemu_pid(), second.qemu_pid());
    EXPECT_EQ(second.wait().exit_code(), 2) << second.wait().message;
    EXPECT_EQ(first.wait().exit_code(), 1) << first.wait().message;
}

// The program vmrpc-vm with its standard error in a pipe.
struct Program {
    explicit Program(std::vector<std::string> args) {
        std::array<int, 2> fds{};
        EXPECT_EQ(pipe(fds.data()), 0);
        args.insert(args.begin(), VM_PROGRAM);
        std::vector<char*> argv;
        for (auto& arg : args) argv.push_back(arg.data());
        argv.push_back(nullptr);
        pid = fork();
        if (pid == 0) {
            dup2(fds[1], STDERR_FILENO);
            close(fds[0]);
            close(fds[1]);
            execv(argv[0], argv.data());
            _exit(127);
        }
        close(fds[1]);
        errors = fdopen(fds[0], "r");
    }
    ~Program() { std::fclose(errors); }
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    pid_t qemu_pid() const {
        std::array<char, 512> line{};
        if (std::fgets(line.data(), line.size(), errors) == nullptr) return -1;
        const std::string text = line.data();
        const auto at = text.find("process ");
        return at == std::string::npos ? -1 : std::atoi(text.c_str() + at + 8);
    }

    int wait() const {
        int status = 0;
        waitpid(pid, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }

    pid_t pid = -1;
    FILE* errors = nullptr;
};

TEST_F(GuestEnd, TheProgramEndsAsTheGuestDid) {
    EXPECT_EQ(Program({PROBE, "exit", "3"}).wait(), 3);
    EXPECT_EQ(Program({"--limit", "1", PROBE, "sleep"}).wait(), 124);
    EXPECT_EQ(Program({"--no-such-option", PROBE}).wait(), 125);
    EXPECT_EQ(Program({"--limit", "5"}).wait(), 125);
}

TEST_F(GuestEnd, NoQemuIsLeftWhereTheProgramIsKilled) {
    for (const int signal : {SIGKILL, SIGTERM, SIGINT}) {
        const Program program{{PROBE, "sleep"}};
        const pid_t qemu = program.qemu_pid();
        ASSERT_GT(qemu, 0);
        EXPECT_TRUE(is_running(qemu));
        ::kill(program.pid, signal);
        EXPECT_EQ(program.wait(), signal == SIGKILL ? -SIGKILL : 128 + signal);
        EXPECT_TRUE(ends_soon(qemu));
    }
}

}  // namespace
}  // namespace vmrpc::vm
