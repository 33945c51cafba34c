// What a server's options refuse: functions that they do not fit, and more clients than they let in.
#include "unit/serving.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

namespace serving {
namespace {

using testing::HasSubstr;

constexpr auto kAdded = vmrpc::named<"test.added", std::uint64_t(std::uint64_t)>;

TEST(ServeOptions, ThatDoNotGoTogetherAreRefused) {
    Server server;
    const auto function = [](std::uint64_t what) { return what; };
    vmrpc::test::TempFolder folder;
    vmrpc::Server without(folder.address());
    const auto pooled = without.add<kAdded>(function, {.pooled = true});
    ASSERT_FALSE(pooled);
    EXPECT_EQ(pooled.error().status, VMRPC_BAD_ARGUMENT);
    EXPECT_THAT(pooled.error().text, HasSubstr("workers"));
    EXPECT_EQ(status_of(server.server.add<kAdded>(function, {.ordered = true})), VMRPC_BAD_ARGUMENT);
    vmrpc::test::TempFolder other_folder;
    vmrpc::Server limited(other_folder.address(), {.workers = 1});
    EXPECT_EQ(status_of(limited.add<kAdded>(function, {.max_running = 1})), VMRPC_BAD_ARGUMENT);
    vmrpc::test::TempFolder third_folder;
    EXPECT_EQ(status_of(vmrpc::Server(third_folder.address(), {.workers = 1'000'000}).status()), VMRPC_BAD_ARGUMENT);
}

TEST(ServeOptions, MoreClientsThanTheMostAreToldSo) {
    Server server({.max_connections = 2, .workers = 1});
    server.start();
    const auto first = server.connect();
    std::optional<vmrpc::Client> second = server.connect();
    ASSERT_EQ(second->call<kHere>(2U).value(), 2U);
    for (int i = 0; i < 3; ++i) {
        const auto third = vmrpc::Client::connect(server.address());
        ASSERT_FALSE(third);
        EXPECT_EQ(third.error().status, VMRPC_OUT_OF_RESOURCES);
        EXPECT_EQ(third.error().remedy(), vmrpc::Remedy::kRetryLater);
        EXPECT_THAT(third.error().text, HasSubstr("the server has 2 connections, the most that it takes"));
        EXPECT_THAT(third.error().text, HasSubstr("raise the server's limit"));
    }
    EXPECT_EQ(first.call<kHere>(1U).value(), 1U) << "others do not notice";
    EXPECT_EQ(first.call<kNote>(1U).value(), 1U);
    EXPECT_EQ(second->call<kHere>(2U).value(), 2U);
    second.reset();
    EXPECT_TRUE(soon([&] {
        const auto next = vmrpc::Client::connect(server.address());
        return next && next->call<kHere>(3U).value_or(0) == 3;
    })) << "the place of one that has left";
    EXPECT_EQ(first.call<kHere>(4U).value(), 4U);
}

}  // namespace
}  // namespace serving
