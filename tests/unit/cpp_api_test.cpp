// The C++ API: values, names, callers, and what a client and a server are.
#include "cpp_api_server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <any>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace cpp_api {
namespace {

using testing::HasSubstr;

TEST(CppApiValue, TravelsBothWays) {
    const Server server;
    const auto client = server.connect();
    EXPECT_EQ(client.call<add>(-5, std::int64_t{1} << 40).value(), (std::int64_t{1} << 40) - 5);
    EXPECT_EQ(client.call<negate>(true).value(), false);
    EXPECT_EQ(client.call<mirror>(Pair{3, 0.5}).value(), (Pair{-3, -0.5}));
}

TEST(CppApiValue, ConvertsAsTheFunctionsOwnArgumentsDo) {
    const Server server;
    const auto client = server.connect();
    EXPECT_EQ(client.call<add>(std::int16_t{2}, 3U).value(), 5);
}

TEST(CppApiReference, IsWrittenBack) {
    const Server server;
    const auto client = server.connect();
    std::int32_t left = 1;
    std::int32_t right = 2;
    ASSERT_TRUE(client.call<swap>(left, right));
    EXPECT_EQ(left, 2);
    EXPECT_EQ(right, 1);
}

TEST(CppApiName, MayBeTheUsersOwn) {
    const Server server;
    const auto client = server.connect();
    EXPECT_EQ(client.call<kRenamed>(21).value(), 42);
}

TEST(CppApiName, WithAnotherSchemaIsAnotherSignature) {
    const Server server;
    const auto client = server.connect();
    EXPECT_EQ(client.call<kSchema2>().value(), 2);
    const auto refused = client.call<kSchema1>();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().status, VMRPC_SIGNATURE_MISMATCH);
    EXPECT_THAT(refused.error().text, HasSubstr("schema 1"));
    EXPECT_THAT(refused.error().text, HasSubstr("schema 2"));
}

TEST(CppApiRequire, TakesManyAndStopsAtTheFirstThatFails) {
    const Server server;
    const auto client = server.connect();
    EXPECT_TRUE((client.require<add, mean, kRenamed>()));
    const auto refused = client.require<add, absent, kSchema1>();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().status, VMRPC_UNKNOWN_FUNCTION);
    EXPECT_THAT(refused.error().text, HasSubstr("cpp_api::absent"));
}

TEST(CppApiError, SaysWhatToDo) {
    const Server server;
    const auto client = server.connect();
    const auto refused = client.call<absent>(1);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().remedy(), vmrpc::Remedy::kFixTheCall);
    EXPECT_THAT(refused.error().message(), testing::StartsWith("VMRPC_UNKNOWN_FUNCTION: "));
    const auto nobody = vmrpc::Client::connect("local:/nonexistent/vmrpc.sock");
    ASSERT_FALSE(nobody);
    EXPECT_EQ(nobody.error().status, VMRPC_NO_SERVER);
    EXPECT_EQ(nobody.error().remedy(), vmrpc::Remedy::kReconnect);
}

TEST(CppApiError, CarriesTheTextOfAnException) {
    const Server server;
    const auto client = server.connect();
    const auto failed = client.call<fail_with>("the disk is on fire");
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().status, VMRPC_FUNCTION_FAILED);
    EXPECT_EQ(failed.error().text, "the disk is on fire");
    EXPECT_EQ(client.call<add>(1, 2).value(), 3) << "the connection goes on";
}

TEST(CppApiError, CutsALongText) {
    const Server server;
    const auto client = server.connect();
    const auto failed = client.call<fail_with>(std::string(1000, 'x'));
    ASSERT_FALSE(failed);
    EXPECT_GE(failed.error().text.size(), 200U);
    EXPECT_EQ(failed.error().text, std::string(failed.error().text.size(), 'x'));
}

TEST(CppApiError, OfSomethingOddThatWasThrown) {
    const Server server;
    const auto client = server.connect();
    const auto failed = client.call<fail_oddly>();
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().status, VMRPC_FUNCTION_FAILED);
    EXPECT_THAT(failed.error().text, HasSubstr("no std::exception"));
}

TEST(CppApiCaller, IsWhoTheKernelSays) {
    const Server server;
    const auto client = server.connect();
    const Facts seen = client.call<facts>().value();
    EXPECT_EQ(seen.connection_number, 1U);
    EXPECT_EQ(seen.uid, ::getuid());
    EXPECT_EQ(seen.gid, ::getgid());
    EXPECT_EQ(seen.pid, static_cast<std::uint32_t>(::getpid()));
    EXPECT_EQ(seen.vm, 0U);
    EXPECT_FALSE(seen.trusted);
    EXPECT_EQ(server.connect().call<facts>().value().connection_number, 2U);
}

TEST(CppApiCaller, HasAStateOfItsOwn) {
    const Server server;
    const auto first = server.connect();
    const auto second = server.connect();
    EXPECT_EQ(first.call<count_calls>().value(), 1);
    EXPECT_EQ(first.call<count_calls>().value(), 2);
    EXPECT_EQ(second.call<count_calls>().value(), 1);
}

TEST(CppApiServer, TellsOfConnectionsWithTheirState) {
    std::vector<std::uint64_t> opened;  // the serving thread's
    int calls_when_closed = 0;
    vmrpc::ServeOptions options;
    options.on_open = [&](const vmrpc::Caller& caller) {
        opened.push_back(caller.connection_number());
        EXPECT_FALSE(caller.state().has_value());
    };
    options.on_close = [&](const vmrpc::Caller& caller) {
        calls_when_closed = std::any_cast<std::int32_t>(caller.state());
    };
    {
        Server server(options);
        const auto client = server.connect();
        ASSERT_TRUE(client.call<count_calls>());
        ASSERT_TRUE(client.call<count_calls>());
    }
    EXPECT_EQ(opened, std::vector<std::uint64_t>{1});
    EXPECT_EQ(calls_when_closed, 2);
}

TEST(CppApiServer, KeepsItsFirstFailure) {
    const Server taken;
    vmrpc::Server server(taken.address());
    ASSERT_FALSE(server.status());
    EXPECT_EQ(server.status().error().status, VMRPC_ADDRESS_IN_USE);
    EXPECT_EQ(server.add<mean>().error().status, VMRPC_ADDRESS_IN_USE);
    EXPECT_EQ(server.run().error().status, VMRPC_ADDRESS_IN_USE);
    server.stop();
}

TEST(CppApiServer, RefusesAFunctionTwice) {
    const vmrpc::test::TempFolder folder;
    vmrpc::Server server(folder.address());
    EXPECT_TRUE(server.add<mean>());
    EXPECT_EQ(server.add<mean>().error().status, VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(server.run().error().status, VMRPC_BAD_ARGUMENT) << "what failed before";
}

TEST(CppApiServer, DestroysTheCallablesThatItOwns) {
    const auto owned = std::make_shared<int>(1);
    {
        const vmrpc::test::TempFolder folder;
        vmrpc::Server server(folder.address());
        ASSERT_TRUE(server.add<kRenamed>([owned](std::int32_t value) { return value + *owned; }));
        EXPECT_EQ(owned.use_count(), 2);
        EXPECT_FALSE(server.add<kRenamed>([owned](std::int32_t value) { return value - *owned; }));
        EXPECT_EQ(owned.use_count(), 2) << "the one that was refused is gone";
    }
    EXPECT_EQ(owned.use_count(), 1);
}

TEST(CppApiClient, MovesAndLeavesNothingBehind) {
    const Server server;
    auto first = server.connect();
    const vmrpc::Client second = std::move(first);
    EXPECT_EQ(second.call<add>(1, 2).value(), 3);
    const auto refused = first.call<add>(1, 2);  // NOLINT(bugprone-use-after-move): what it is about
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().status, VMRPC_BAD_ARGUMENT);
}

TEST(CppApiClient, ServesManyThreadsAtOnce) {
    const Server server;
    const auto client = server.connect({.max_lanes = 3});
    ASSERT_TRUE(client.require<add>());
    std::vector<std::thread> threads;
    for (std::int32_t thread = 0; thread < 6; ++thread) {
        threads.emplace_back([&client, thread] {
            for (std::int32_t i = 0; i < 200; ++i) EXPECT_EQ(client.call<add>(thread, i).value(), thread + i);
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(client.stats().calls, 6U * 200U + 1U) << "and one to resolve";
}

}  // namespace
}  // namespace cpp_api
