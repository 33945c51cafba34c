// The static probes: that they are in the library, with the arguments that docs/STATS.md promises, and that they are
// reached when it says so.
#include "unit/elf_probes.hpp"
#include "unit/serving.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <sstream>

namespace serving {
namespace {

using vmrpc::test::ElfFile;
using vmrpc::test::Probe;
using vmrpc::test::Uprobe;

/// The sizes of a probe's arguments: 4 for "4@8(%rax)".
std::vector<int> sizes_of(const Probe& probe) {
    std::vector<int> sizes;
    std::istringstream words(probe.arguments);
    for (std::string word; words >> word;) sizes.push_back(std::stoi(word));
    return sizes;
}

TEST(Probes, AreInTheLibraryWithTheirArguments) {
    const std::map<std::string, std::vector<int>> promised{
        {"post", {4, 4, 8, 4}}, {"dispatch", {4, 4, 8, 4}}, {"reply", {4, 4, 8, 4, 4}}, {"wake", {4, 4}}};
    std::map<std::string, std::vector<int>> found;
    for (const Probe& probe : ElfFile(VMRPC_TEST_LIBRARY).probes()) {
        ASSERT_EQ(probe.provider, "vmrpc");
        ASSERT_NE(probe.file_offset, 0U);
        const auto [place, is_new] = found.try_emplace(probe.name, sizes_of(probe));
        EXPECT_EQ(place->second, sizes_of(probe)) << probe.name << " is not the same everywhere";
    }
    EXPECT_EQ(found, promised);
}

/// Counts this process's own probes: the library is linked into it.
class ProbesReached : public testing::Test {
  protected:
    void SetUp() override {
        for (const Probe& probe : ElfFile(kSelf).probes()) set_.emplace(probe.name, Uprobe(kSelf, probe.file_offset));
        ASSERT_FALSE(set_.empty());
        if (!std::all_of(set_.begin(), set_.end(), [](const auto& each) { return each.second.is_set(); }))
            GTEST_SKIP() << "the kernel lets nobody, or not us, trace: perf_event_open needs uprobes and CAP_PERFMON";
    }
    [[nodiscard]] std::uint64_t count(const std::string& name) const {
        const auto [first, last] = set_.equal_range(name);
        std::uint64_t sum = 0;
        for (auto each = first; each != last; ++each) sum += each->second.count();
        return sum;
    }
    /// Makes calls, and expects so many more of each of the three.
    template <class Calls>
    void expect_each(std::uint64_t expected, Calls&& calls) {
        const std::uint64_t posts = count("post");
        const std::uint64_t dispatches = count("dispatch");
        const std::uint64_t replies = count("reply");
        calls();
        EXPECT_EQ(count("post") - posts, expected);
        EXPECT_EQ(count("dispatch") - dispatches, expected);
        EXPECT_TRUE(soon([&] { return count("reply") - replies == expected; }))  // it may come after the client has it
            << count("reply") - replies << " replies instead of " << expected;
    }

    static constexpr const char* kSelf = "/proc/self/exe";
    std::multimap<std::string, Uprobe> set_;
};

TEST_F(ProbesReached, OnceByEachCallWhateverItsWay) {
    Server server({.spin = std::chrono::nanoseconds(VMRPC_SPIN_ALWAYS), .workers = 1});
    server.start();
    const auto client = server.connect({.spin = std::chrono::nanoseconds(VMRPC_SPIN_ALWAYS)});
    ASSERT_TRUE((client.require<kHere, kNote>()));
    expect_each(100, [&] {  // the short way
        for (std::uint64_t i = 0; i < 100; ++i) ASSERT_EQ(client.call<kHere>(i).value(), i);
    });
    expect_each(100, [&] {  // the long one
        for (std::uint64_t i = 0; i < 100; ++i)
            ASSERT_EQ(client.call_within<kHere>(std::chrono::hours(1), i).value(), i);
    });
    expect_each(100, [&] {  // on a worker
        for (std::uint64_t i = 0; i < 100; ++i) ASSERT_EQ(client.call<kNote>(i).value(), i);
    });
    expect_each(16, [&] {  // in flight together
        std::vector<vmrpc::Future<std::uint64_t>> in_flight;
        for (std::uint64_t i = 0; i < 16; ++i) in_flight.push_back(client.async<kHere>(i));
        for (auto& call : in_flight) ASSERT_TRUE(call.get());
    });
}

TEST_F(ProbesReached, WakeBySleepersOnly) {
    Server server({.spin = std::chrono::nanoseconds(VMRPC_SPIN_NEVER), .workers = 1});
    server.start();
    const auto client = server.connect({.spin = std::chrono::nanoseconds(VMRPC_SPIN_NEVER)});
    ASSERT_TRUE((client.require<kHere>()));
    const std::uint64_t before = count("wake");
    const std::uint64_t rings = client.stats().rings;
    for (std::uint64_t i = 0; i < 100; ++i) ASSERT_EQ(client.call<kHere>(i).value(), i);
    EXPECT_GE(count("wake") - before, client.stats().rings - rings) << "and those of the server";
    EXPECT_GT(client.stats().rings, rings);
}

}  // namespace
}  // namespace serving
