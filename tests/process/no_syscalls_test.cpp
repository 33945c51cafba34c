// While both sides are awake, a call makes no system call: 10,000 of them are traced.
#include <gtest/gtest.h>

#include <sched.h>
#include <stdlib.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

class TracedCalls : public testing::Test {
  protected:
    TracedCalls() {
        std::string name = fs::temp_directory_path() / "vmrpc-test-XXXXXX";
        folder_ = ::mkdtemp(name.data());
    }
    ~TracedCalls() override { fs::remove_all(folder_); }

    /// Runs the program under strace; its status, 0 for success. The leak checker cannot work in a traced program.
    [[nodiscard]] int trace(const std::string& program) const {
        const std::string options = "ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0";
        return std::system((options + " strace -f -e signal=none -o " + file().string() + " " + program).c_str());
    }
    [[nodiscard]] int trace_calls(const std::string& spin) const {
        return trace(VMRPC_TEST_HOT_CALLS " " + (folder_ / "socket").string() + " " + spin);
    }
    [[nodiscard]] fs::path file() const { return folder_ / "trace"; }

    /// What the thread that wrote the marker "begin WHO" did before it wrote "end WHO"; nothing if either is missing.
    [[nodiscard]] std::optional<std::vector<std::string>> between(const std::string& who) const {
        std::ifstream trace(file());
        std::string thread;
        std::vector<std::string> lines;
        for (std::string line; std::getline(trace, line);) {
            const std::string thread_of_line = line.substr(0, line.find(' '));
            if (line.find("\"begin " + who) != std::string::npos)
                thread = thread_of_line;
            else if (line.find("\"end " + who) != std::string::npos)
                return thread == thread_of_line ? std::optional(lines) : std::nullopt;
            else if (thread == thread_of_line && line.find("write resumed") == std::string::npos)
                lines.push_back(line);  // the end of the marker's own call does not count
        }
        return std::nullopt;
    }

  private:
    fs::path folder_;
};

bool has_one_cpu() {
    cpu_set_t set;
    return ::sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) == 1;
}

TEST_F(TracedCalls, MakeNoSystemCallWhileBothSidesSpin) {
    if (trace("true") != 0) GTEST_SKIP() << "strace is not there, or may not trace";
    if (has_one_cpu()) GTEST_SKIP() << "with one CPU the two sides cannot be awake at once";
    ASSERT_EQ(trace_calls("spin"), 0);
    for (const char* who : {"client", "server"}) {
        const auto lines = between(who);
        ASSERT_TRUE(lines) << who << " wrote no markers";
        EXPECT_TRUE(lines->empty()) << who << " made " << lines->size()
                                    << " system calls, the first: " << lines->front();
    }
}

TEST_F(TracedCalls, AreSeenWhereTheyAreMade) {
    if (trace("true") != 0) GTEST_SKIP() << "strace is not there, or may not trace";
    ASSERT_EQ(trace_calls("sleep"), 0);
    for (const char* who : {"client", "server"}) {
        const auto lines = between(who);
        ASSERT_TRUE(lines) << who << " wrote no markers";
        EXPECT_GE(lines->size(), 100) << "sides that never spin sleep in the kernel";
    }
}

}  // namespace
