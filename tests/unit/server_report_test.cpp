// What a server says of itself: through its API, and to clients that call vmrpc.report.
#include "unit/raw_client.hpp"
#include "unit/serving.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <unistd.h>

#include <array>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string_view>

namespace serving {
namespace {

constexpr auto kReport = vmrpc::named<"vmrpc.report", vmrpc::Array<char>()>;
constexpr auto kAdd = vmrpc::named<"test.report_add", std::int64_t(std::int64_t, std::int64_t)>;
constexpr auto kSum = vmrpc::named<"test.report_sum", double(std::span<const double>)>;
constexpr auto kFail = vmrpc::named<"test.report_fail", void(std::int32_t)>;
constexpr auto kFailOfData = vmrpc::named<"test.report_fail_of_data", void(std::span<const double>)>;

class Reporting : public testing::Test {
  protected:
    Reporting() : server_(folder_.address(), {.workers = 1}), client_(make_client()) {}
    ~Reporting() override {
        server_.stop();
        thread_.join();
    }
    vmrpc::Client make_client() {
        EXPECT_TRUE(server_.add<kAdd>([](std::int64_t a, std::int64_t b) { return a + b; }));
        EXPECT_TRUE(server_.add<kSum>(
            [](std::span<const double> values) { return std::accumulate(values.begin(), values.end(), 0.0); },
            {.pooled = true}));
        EXPECT_TRUE(server_.add<kFail>([](std::int32_t) { throw std::runtime_error("as asked"); }));
        thread_ = std::thread([this] { EXPECT_TRUE(server_.run()); });
        return connect();
    }
    [[nodiscard]] vmrpc::Client connect() const { return vmrpc::Client::connect(folder_.address()).value(); }
    void make_calls() {
        for (int i = 0; i < 200; ++i) ASSERT_EQ(client_.call<kAdd>(i, 1).value(), i + 1);
        const std::vector<double> values(100, 1.0);
        for (int i = 0; i < 7; ++i) ASSERT_EQ(client_.call<kSum>(values).value(), 100.0);
        for (int i = 0; i < 3; ++i) ASSERT_FALSE(client_.call<kFail>(i));
    }
    /// As a client gets it: what it was answered before is in it.
    [[nodiscard]] nlohmann::json asked() const {
        const auto text = client_.call<kReport>().value();
        return nlohmann::json::parse(text.begin(), text.end());
    }
    static nlohmann::json named(const nlohmann::json& list, const std::string& name) {
        for (const auto& each : list) {
            if (each["name"] == name) return each;
        }
        ADD_FAILURE() << "no " << name << " in " << list;
        return {};
    }

    vmrpc::test::TempFolder folder_;
    std::thread thread_;
    vmrpc::Server server_;
    vmrpc::Client client_;
};

TEST_F(Reporting, CountsEveryCallOfEachFunction) {
    make_calls();
    const auto functions = asked()["functions"];
    ASSERT_EQ(functions.size(), 3U);
    const auto add = named(functions, "test.report_add");
    EXPECT_EQ(add["calls"], 200);
    EXPECT_EQ(add["errors"], 0);
    EXPECT_EQ(add["index"], 16) << "the first behind the library's own";
    EXPECT_EQ(add["bytes"], 200 * 3 * sizeof(std::int64_t));
    EXPECT_EQ(add["duration_ns"]["samples"], 64) << "the first ones";
    EXPECT_GT(add["duration_ns"]["p50"], 0);
    const auto sum = named(functions, "test.report_sum");
    EXPECT_EQ(sum["calls"], 7);
    EXPECT_EQ(sum["duration_ns"]["samples"], 7);
    EXPECT_EQ(sum["copies"], 7) << "a snapshot for each, as the client is not trusted";
    EXPECT_GE(sum["bytes"], 7 * 100 * sizeof(double));
    const auto fail = named(functions, "test.report_fail");
    EXPECT_EQ(fail["calls"], 3);
    EXPECT_EQ(fail["errors"], 3);
}

TEST_F(Reporting, TimesOneInManyOfTheFurtherCalls) {
    for (int i = 0; i <= 2 * 512; ++i) ASSERT_TRUE(client_.call<kAdd>(i, 1));
    EXPECT_EQ(named(asked()["functions"], "test.report_add")["duration_ns"]["samples"], 64 + 2);
}

TEST_F(Reporting, CountsForEachConnection) {
    make_calls();
    const auto other = connect();
    ASSERT_TRUE(other.call<kAdd>(1, 1));
    const auto report = asked();
    EXPECT_EQ(report["connection_count"], 2);
    ASSERT_EQ(report["connections"].size(), 2U);
    const auto& first = report["connections"][0];
    EXPECT_GE(first["calls"], 210) << "and those of the library";
    EXPECT_EQ(first["errors"], 3);
    EXPECT_EQ(first["copies"], 7);
    EXPECT_EQ(first["pid"], ::getpid());
    EXPECT_EQ(first["vm"], 0);
    EXPECT_LT(report["connections"][1]["calls"], 10);
}

TEST_F(Reporting, SaysTheSameToTheServersOwnProgram) {
    make_calls();
    static_cast<void>(asked());  // what was answered before is counted now
    const auto report = nlohmann::json::parse(server_.report());
    EXPECT_EQ(named(report["functions"], "test.report_add")["calls"], 200);
    std::array<char, 8> cut{};
    EXPECT_GT(VMRPC_REPORT(server_.handle(), cut.data(), cut.size()), cut.size());
    EXPECT_EQ(std::string_view(cut.data()), server_.report().substr(0, cut.size() - 1));
    EXPECT_EQ(VMRPC_REPORT(nullptr, cut.data(), cut.size()), 0U);
}

TEST_F(Reporting, CountsRoundsThatFoundNothing) {
    make_calls();
    const auto spins = [this] { return nlohmann::json::parse(server_.report())["spins"].get<std::uint64_t>(); };
    const std::uint64_t before = spins();
    EXPECT_TRUE(soon([&] {  // it spins for a while behind each call
        return client_.call<kAdd>(1, 1).has_value() && spins() > before;
    }));
}

TEST_F(Reporting, AConnectionThatEndsIsNotInItAnyMore) {
    {
        const auto other = connect();
        ASSERT_TRUE(other.call<kAdd>(1, 1));
        EXPECT_EQ(asked()["connection_count"], 2);
    }
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (asked()["connection_count"] != 1 && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
    EXPECT_EQ(asked()["connection_count"], 1);
}

TEST_F(Reporting, ManyThreadsAskWhileConnectionsComeAndGo) {
    std::atomic<bool> is_over{false};
    std::vector<std::thread> asking;
    for (int i = 0; i < 2; ++i) {
        asking.emplace_back([&] {
            while (!is_over) EXPECT_FALSE(server_.report().empty());
        });
    }
    for (int i = 0; i < 50; ++i) EXPECT_TRUE(connect().call<kAdd>(1, i));
    is_over = true;
    for (std::thread& thread : asking) thread.join();
}

TEST(Report, SpansOfCallsThatFailAreCounted) {
    Server server;
    const auto fail = [](std::span<const double>) { throw std::runtime_error("as asked"); };
    EXPECT_TRUE(server.server.add<kFailOfData>(fail, {.pooled = true}));
    server.start();
    const auto client = server.connect();
    const std::vector<double> values(100, 1.0);
    for (int i = 0; i < 5; ++i) ASSERT_EQ(status_of(client.call<kFailOfData>(values)), VMRPC_FUNCTION_FAILED);
    const auto report = nlohmann::json::parse(server.server.report());
    const auto& function = report["functions"].back();
    EXPECT_EQ(function["errors"], 5);
    EXPECT_EQ(function["copies"], 5) << "snapshots";
    EXPECT_GE(function["bytes"], 5 * 100 * sizeof(double));
    EXPECT_EQ(report["connections"][0]["copies"], 5);
}

TEST(Report, NobodyIsRungBeforeAWorkerHasAnswered) {
    Server server;
    server.start();
    RawClient client(server.address());
    const auto rings = [&] {
        return nlohmann::json::parse(server.server.report())["connections"][0]["rings"].get<std::uint64_t>();
    };
    client.arm();
    const auto held = client.post_empty(kHoldIndex);
    ASSERT_TRUE(server.gate.holds(1));
    ASSERT_EQ(server.connect().call<kHere>(1U).value(), 1U) << "the round that took the call is over";
    EXPECT_EQ(rings(), 0U);
    server.gate.open();
    EXPECT_EQ(client.status(held), VMRPC_OK);
    EXPECT_TRUE(soon([&] { return rings() == 1; }));
}

}  // namespace
}  // namespace serving
