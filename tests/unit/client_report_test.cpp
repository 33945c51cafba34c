// What a client says of itself: how long its calls take as it sees them, and what it counts.
#include "unit/serving.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <unistd.h>

#include <array>
#include <stdexcept>
#include <string_view>

namespace serving {
namespace {

constexpr auto kFailHere = vmrpc::named<"test.client_report_fail", void(std::int32_t)>;
constexpr auto kSize = vmrpc::named<"test.client_report_size", std::uint64_t(std::span<const double>)>;

nlohmann::json report_of(const vmrpc::Client& client) {
    return nlohmann::json::parse(client.report());
}

nlohmann::json named(const nlohmann::json& report, std::string_view name) {
    for (const auto& each : report["functions"]) {
        if (each["name"] == name) return each;
    }
    ADD_FAILURE() << "no " << name << " in " << report;
    return {};
}

std::uint64_t samples_of(const vmrpc::Client& client, std::string_view name) {
    return named(report_of(client), name)["duration_ns"]["samples"];
}

class ClientReport : public testing::Test {
  protected:
    explicit ClientReport(const vmrpc::ServeOptions& options = {.workers = 1}) : server_(options) {
        EXPECT_TRUE(server_.server.add<kFailHere>([](std::int32_t) { throw std::runtime_error("as asked"); }));
        EXPECT_TRUE(server_.server.add<kSize>([](std::span<const double> values) { return values.size(); }));
        server_.start();
    }
    Server server_;
};

constexpr std::uint64_t kFirst = 64;          // of each function are timed
constexpr std::uint64_t kFurther = 512 * 50;  // calls, of which one in 257 to 768 is
constexpr std::uint64_t kFewest = kFurther / 768;
constexpr std::uint64_t kMost = kFurther / 257 + 1;

TEST_F(ClientReport, TimesTheFirstCallsOfAFunctionAndSomeOfTheFurtherOnes) {
    const auto client = server_.connect();
    for (std::uint64_t i = 0; i < kFirst; ++i) ASSERT_TRUE(client.call<kHere>(i));
    EXPECT_EQ(samples_of(client, "test.here"), kFirst);
    for (std::uint64_t i = 0; i < kFurther; ++i) ASSERT_TRUE(client.call<kHere>(i));
    EXPECT_GE(samples_of(client, "test.here"), kFirst + kFewest);
    EXPECT_LE(samples_of(client, "test.here"), kFirst + kMost);
    const auto took = named(report_of(client), "test.here")["duration_ns"];
    EXPECT_GT(took["p50"], 0);
    EXPECT_GE(took["p999"], took["p50"]);
}

TEST_F(ClientReport, TimesCallsWithoutValuesAndThoseOfTheLongWay) {
    server_.gate.open();
    const auto client = server_.connect();
    for (std::uint64_t i = 0; i < kFirst + kFurther; ++i) ASSERT_TRUE(client.call<kHoldHere>());
    EXPECT_GE(samples_of(client, "test.hold_here"), kFirst + kFewest);
    EXPECT_LE(samples_of(client, "test.hold_here"), kFirst + kMost);
    for (std::uint64_t i = 0; i < kFirst + kFurther; ++i)
        ASSERT_TRUE(client.call_within<kHere>(std::chrono::hours(1), i));
    EXPECT_GE(samples_of(client, "test.here"), kFirst + kFewest);
    EXPECT_LE(samples_of(client, "test.here"), kFirst + kMost);
}

TEST_F(ClientReport, LeavesOutNoneOfSeveralFunctionsThatTakeTurns) {
    server_.gate.open();
    const auto client = server_.connect();
    for (std::uint64_t i = 0; i < kFirst + kFurther; ++i) {
        ASSERT_TRUE(client.call<kHere>(i));
        ASSERT_TRUE(client.call<kHoldHere>());
    }
    EXPECT_GT(samples_of(client, "test.here"), kFirst + kFewest / 2);
    EXPECT_GT(samples_of(client, "test.hold_here"), kFirst + kFewest / 2);
}

TEST_F(ClientReport, CountsFailuresAndMissedDeadlinesOfEachFunction) {
    const auto client = server_.connect();
    for (std::int32_t i = 0; i < 3; ++i) ASSERT_FALSE(client.call<kFailHere>(i));
    ASSERT_FALSE(client.async<kFailHere>(1).get());
    ASSERT_EQ(status_of(client.call_within<kHold>(std::chrono::milliseconds(1))), VMRPC_TIMED_OUT);
    ASSERT_EQ(status_of(client.async_within<kHold>(std::chrono::milliseconds(1)).get()), VMRPC_TIMED_OUT);
    ASSERT_TRUE(client.call<kHere>(1));
    const auto report = report_of(client);
    EXPECT_EQ(named(report, "test.client_report_fail")["errors"], 4);
    EXPECT_EQ(named(report, "test.client_report_fail")["deadline_misses"], 0);
    EXPECT_EQ(named(report, "test.hold")["errors"], 2);
    EXPECT_EQ(named(report, "test.hold")["deadline_misses"], 2);
    EXPECT_EQ(named(report, "test.here")["errors"], 0);
}

TEST_F(ClientReport, CountsWhatTheConnectionDoes) {
    const auto client = server_.connect();
    const std::vector<double> values(100, 1.0);
    ASSERT_EQ(client.call<kSize>(values).value(), values.size());
    const auto report = report_of(client);
    EXPECT_EQ(report["address"], server_.address());
    EXPECT_EQ(report["pid"], ::getpid());
    EXPECT_EQ(report["number"], 1);
    EXPECT_EQ(report["calls"], 2) << "with the one that resolved it";
    EXPECT_EQ(report["copies"], 1);
    EXPECT_EQ(report["copied_bytes"], values.size() * sizeof(double));
    EXPECT_EQ(report["rings"].get<std::uint64_t>() + report["rings_saved"].get<std::uint64_t>(), 2U);
    EXPECT_EQ(named(report, "test.client_report_size")["index"],
              nlohmann::json::parse(server_.server.report())["functions"][5]["index"]);
}

TEST_F(ClientReport, TellsSpinsInVainFromSleeps) {
    const auto spinning = server_.connect();
    const Caller caller([&] { return status_of(spinning.call<kHold>()); });
    EXPECT_TRUE(soon([&] { return report_of(spinning)["sleeps"] >= 1; }));
    EXPECT_GE(report_of(spinning)["spins"], 1);
    const auto sleeping = server_.connect({.spin = std::chrono::nanoseconds(VMRPC_SPIN_NEVER)});
    server_.gate.open();
    for (std::uint64_t i = 0; i < kFirst; ++i) ASSERT_TRUE(sleeping.call<kNote>(i));
    EXPECT_GE(report_of(sleeping)["sleeps"], 1);
    EXPECT_EQ(report_of(sleeping)["spins"], 0);
    EXPECT_EQ(samples_of(sleeping, "test.note"), kFirst) << "what waits is timed too";
}

TEST_F(ClientReport, IsThereInCCutToItsRoom) {
    const auto client = server_.connect();
    std::array<char, 8> cut{};
    EXPECT_GT(VMRPC_CLIENT_REPORT(client.handle(), cut.data(), cut.size()), cut.size());
    EXPECT_EQ(std::string_view(cut.data()), client.report().substr(0, cut.size() - 1));
    EXPECT_EQ(VMRPC_CLIENT_REPORT(nullptr, cut.data(), cut.size()), 0U);
    EXPECT_EQ(VMRPC_LAST_STATUS(), VMRPC_BAD_ARGUMENT);
}

TEST_F(ClientReport, ThreadsAskWhileOthersCall) {
    const auto client = server_.connect();
    std::atomic<bool> is_over{false};
    std::thread asking([&] {
        while (!is_over) EXPECT_FALSE(client.report().empty());
    });
    std::vector<std::thread> calling;
    for (int thread = 0; thread < 2; ++thread) {
        calling.emplace_back([&] {
            for (std::uint64_t i = 0; i < 1000; ++i) EXPECT_TRUE(client.call<kHere>(i));
            for (std::int32_t i = 0; i < 10; ++i) EXPECT_FALSE(client.call<kFailHere>(i));
        });
    }
    for (std::thread& thread : calling) thread.join();
    is_over = true;
    asking.join();
    EXPECT_GE(samples_of(client, "test.here"), kFirst);
    EXPECT_EQ(named(report_of(client), "test.client_report_fail")["errors"], 20);
}

}  // namespace
}  // namespace serving
