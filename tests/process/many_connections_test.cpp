// One server with more clients than the usual limit of open files has room for, and with more than its own limit has.
#include "conformance/fixture.hpp"
#include "process/program.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>

namespace conformance {
namespace {

using process::Program;
using std::chrono::milliseconds;

/// What each side of a connection has open, at most.
constexpr rlim_t kDescriptorsOfOne = 4;

rlimit descriptor_limit() {
    rlimit limit{};
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
    return limit;
}

void set_descriptor_limit(rlim_t soft) {
    rlimit limit = descriptor_limit();
    limit.rlim_cur = std::min(soft, limit.rlim_max);
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/// A server in a process of its own, started with a soft limit of open files of 256. What it logs is kept.
class OtherServer {
  public:
    [[nodiscard]] std::string address() const { return "local:" + (folder_.path() / "server.sock").string(); }
    [[nodiscard]] bool is_ready() { return program_.line() == "ready"; }

    /// With this limit it can open nothing more.
    [[nodiscard]] rlim_t lowest_free_descriptor() const {
        const std::filesystem::path open = "/proc/" + std::to_string(program_.pid()) + "/fd";
        rlim_t number = 0;
        while (std::filesystem::is_symlink(open / std::to_string(number))) ++number;
        return number;
    }
    /// Lets it open files with numbers below that; all that its hard limit allows, if that is less.
    void limit_descriptors(rlim_t soft) const {
        rlimit limit{};
        ASSERT_EQ(::prlimit(program_.pid(), RLIMIT_NOFILE, nullptr, &limit), 0);
        limit.rlim_cur = std::min(soft, limit.rlim_max);
        ASSERT_EQ(::prlimit(program_.pid(), RLIMIT_NOFILE, &limit, nullptr), 0);
    }
    [[nodiscard]] int times_logged(const std::string& text) const {
        std::ifstream log(log_path());
        int times = 0;
        for (std::string line; std::getline(log, line);) times += line.find(text) != std::string::npos ? 1 : 0;
        return times;
    }

  private:
    [[nodiscard]] std::string log_path() const { return (folder_.path() / "log").string(); }

    TemporaryFolder folder_;
    Program program_{
        {"/bin/sh", "-c", "ulimit -S -n 256; exec \"$0\" \"$1\" 2>\"$2\"", VMRPC_TEST_SERVER, address(), log_path()}};
};

class ManyConnections : public Calls {
  protected:
    ManyConnections() { set_descriptor_limit(RLIM_INFINITY); }
    ~ManyConnections() override { EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before_), 0); }

    [[nodiscard]] static auto try_to_connect(const OtherServer& server) {
        return vmrpc::Client::connect(server.address(), {.timeout = milliseconds(500)});
    }

  private:
    const rlimit before_ = descriptor_limit();
};

TEST_F(ManyConnections, AThousandAreServed) {
    OtherServer server;
    ASSERT_TRUE(server.is_ready());
    constexpr rlim_t kOthers = 100;  // open files that are no connection's
    const auto count =
        static_cast<int>(std::min<rlim_t>(1000, (descriptor_limit().rlim_max - kOthers) / kDescriptorsOfOne));
    std::vector<vmrpc::Client> clients;
    for (int i = 0; i < count; ++i) {
        auto client = vmrpc::Client::connect(server.address());
        ASSERT_TRUE(client) << "connection " << i << ": " << client.error().message();
        clients.push_back(*std::move(client));
        ASSERT_EQ(clients.back().call<add>(i, 1).value(), i + 1);
    }
    for (int i = count - 1; i >= 0; --i) ASSERT_EQ(clients[static_cast<std::size_t>(i)].call<add>(i, 2).value(), i + 2);
}

TEST_F(ManyConnections, WithoutDescriptorsForMoreTheOthersAreServed) {
    OtherServer server;
    ASSERT_TRUE(server.is_ready());
    std::vector<vmrpc::Client> clients;
    const auto all_are_served = [&] {
        return std::all_of(clients.begin(), clients.end(),
                           [](const vmrpc::Client& client) { return client.call<add>(1, 2).value_or(0) == 3; });
    };
    // Each number that may be left over: a hand-shake fails at the first, the second, the third descriptor.
    for (rlim_t left = 0; left < kDescriptorsOfOne; ++left) {
        clients.push_back(vmrpc::Client::connect(server.address()).value());
        server.limit_descriptors(server.lowest_free_descriptor() + left);
        for (int i = 0; i < 2; ++i) {
            const auto refused = try_to_connect(server);
            // With one less than usual it may go on: the death of a client is seen by its socket, too.
            if (refused) continue;
            EXPECT_TRUE(refused.error().status == VMRPC_TIMED_OUT || refused.error().status == VMRPC_OUT_OF_RESOURCES)
                << refused.error().message();
        }
        EXPECT_TRUE(all_are_served()) << "with " << left << " descriptors left";
        server.limit_descriptors(RLIM_INFINITY);
    }
    EXPECT_TRUE(soon([&] { return try_to_connect(server).has_value(); }));
    EXPECT_TRUE(all_are_served());
}

TEST_F(ManyConnections, TheServerSaysOnceThatItCannotAcceptAndAcceptsLater) {
    OtherServer server;
    ASSERT_TRUE(server.is_ready());
    std::optional<vmrpc::Client> client = vmrpc::Client::connect(server.address()).value();
    const auto other = vmrpc::Client::connect(server.address()).value();
    server.limit_descriptors(server.lowest_free_descriptor());
    for (int i = 0; i < 3; ++i) EXPECT_EQ(try_to_connect(server).error().status, VMRPC_TIMED_OUT);
    EXPECT_EQ(server.times_logged("cannot accept clients"), 1);
    server.limit_descriptors(server.lowest_free_descriptor() + 1);  // a client is accepted, and then refused
    for (int i = 0; i < 3; ++i) EXPECT_FALSE(try_to_connect(server));
    EXPECT_EQ(server.times_logged("cannot accept clients"), 1);
    EXPECT_EQ(other.call<add>(1, 2).value(), 3);
    client.reset();  // the room that it leaves is enough
    EXPECT_TRUE(soon([&] {
        const auto next = try_to_connect(server);
        return next && next->call<add>(1, 2).value_or(0) == 3;
    }));
}

}  // namespace
}  // namespace conformance
