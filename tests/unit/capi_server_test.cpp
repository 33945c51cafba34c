// A server's life: running, adding, callbacks, state, who calls.
#include "capi_server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <thread>

VMRPC_DECLARE(int, capi_late, (VALUE, int, value))

namespace vmrpc::test {
namespace {

using testing::HasSubstr;

TEST(CapiServe, RefusesToRunTwice) {
    const CapiServer server;
    const CapiClient client(server);
    ASSERT_EQ(capi_nothing_call(client.connection, nullptr), VMRPC_OK);  // so it runs
    EXPECT_EQ(VMRPC_RUN(server.server), VMRPC_BAD_ARGUMENT);
    EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr("running already"));
}

TEST(CapiServe, RefusesFunctionsWhileItRuns) {
    const CapiServer server;
    const CapiClient client(server);
    ASSERT_EQ(capi_nothing_call(client.connection, nullptr), VMRPC_OK);
    const auto handler = [](void*, void* const*, void*, char*, std::size_t) { return VMRPC_OK; };
    EXPECT_EQ(vmrpc_impl_add(server.server, &capi_late_vmrpc_function, handler, nullptr, nullptr, nullptr),
              VMRPC_BAD_ARGUMENT);
    EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr("capi_late"));
}

TEST(CapiServe, RefusesAFunctionTwice) {
    CapiServer server;
    server.stop();
    EXPECT_EQ(VMRPC_ADD(server.server, capi_sum), VMRPC_BAD_ARGUMENT);
    EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr("capi_sum(span 8/8) -> value 8/8 was added before"));
}

TEST(CapiServe, RefusesAFunctionWithoutAHandler) {
    CapiServer server;
    server.stop();
    EXPECT_EQ(vmrpc_impl_add(server.server, &capi_late_vmrpc_function, nullptr, nullptr, nullptr, nullptr),
              VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(vmrpc_impl_add(server.server, nullptr, nullptr, nullptr, nullptr, nullptr), VMRPC_BAD_ARGUMENT);
}

TEST(CapiServe, RunsAgainAfterItWasStopped) {
    CapiServer server;
    const CapiClient client(server);
    server.stop();
    std::thread again([&] { EXPECT_EQ(VMRPC_RUN(server.server), VMRPC_OK); });
    EXPECT_EQ(capi_nothing_call(client.connection, nullptr), VMRPC_OK);
    VMRPC_STOP(server.server);
    again.join();
}

TEST(CapiServe, ReturnsAtOnceIfStoppedBefore) {
    CapiServer server;
    server.stop();
    VMRPC_STOP(server.server);
    EXPECT_EQ(VMRPC_RUN(server.server), VMRPC_OK);
}

TEST(CapiServe, ServesFromALoopWithWorkers) {
    const TempFolder folder;
    vmrpc_serve_options options{};
    options.struct_bytes = sizeof options;
    options.workers = 1;
    vmrpc_server* server = nullptr;
    ASSERT_EQ(vmrpc_serve(folder.address().c_str(), &options, &server), VMRPC_OK);
    ASSERT_EQ(capi_add_pooled(server), VMRPC_OK) << VMRPC_LAST_ERROR_TEXT();
    std::thread thread([&] { EXPECT_EQ(capi_serve_in_loop(server), VMRPC_SHUTTING_DOWN); });
    vmrpc_connection* connection = nullptr;
    ASSERT_EQ(vmrpc_connect(folder.address().c_str(), nullptr, &connection), VMRPC_OK);
    constexpr std::int64_t kLimitNs = 3'600'000'000'000;
    const vmrpc_call_options limited{sizeof limited, kLimitNs};
    for (int i = 0; i < 20; ++i) {
        std::int64_t left_ns = 0;
        ASSERT_EQ(capi_remaining_call(connection, nullptr, &left_ns), VMRPC_OK);
        EXPECT_EQ(left_ns, INT64_MAX);
        ASSERT_EQ(capi_remaining_call(connection, &limited, &left_ns), VMRPC_OK);
        EXPECT_GT(left_ns, 0);
        EXPECT_LE(left_ns, kLimitNs);
    }
    VMRPC_STOP(server);
    thread.join();
    EXPECT_EQ(vmrpc_close(connection), VMRPC_OK);
    EXPECT_EQ(vmrpc_close(server), VMRPC_OK);
}

TEST(CapiServe, RefusesAddOptionsOfAnUnknownSize) {
    CapiServer server;
    server.stop();
    vmrpc_add_options options{};
    options.struct_bytes = 1;
    const auto handler = [](void*, void* const*, void*, char*, std::size_t) { return VMRPC_OK; };
    EXPECT_EQ(vmrpc_impl_add(server.server, &capi_late_vmrpc_function, handler, nullptr, nullptr, &options),
              VMRPC_BAD_ARGUMENT);
    EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr("vmrpc_add_options"));
}

TEST(CapiServe, TellsOfConnectionsAndKeepsTheirState) {
    CapiServer server;
    {
        const CapiClient first(server);
        const CapiClient second(server);
        std::uint64_t count = 0;
        for (std::uint64_t i = 1; i <= 3; ++i) {
            ASSERT_EQ(capi_count_call(first.connection, nullptr, &count), VMRPC_OK);
            EXPECT_EQ(count, i);
        }
        ASSERT_EQ(capi_count_call(second.connection, nullptr, &count), VMRPC_OK);
        EXPECT_EQ(count, 1U) << "each connection has its own";
    }
    server.stop();
    const capi_notes& notes = server.notes;
    EXPECT_EQ(notes.opened, 2);
    EXPECT_EQ(notes.last_connection_number, 2U);
    vmrpc_close(server.server);  // closes what was still open
    server.server = nullptr;
    EXPECT_EQ(notes.closed, 2);
    EXPECT_TRUE(notes.calls_when_closed == 1 || notes.calls_when_closed == 3);
}

TEST(CapiServe, TellsItsClientsThatItIsClosed) {
    CapiServer server;
    const CapiClient client(server);
    ASSERT_EQ(capi_nothing_call(client.connection, nullptr), VMRPC_OK);
    server.close();
    EXPECT_EQ(capi_nothing_call(client.connection, nullptr), VMRPC_PEER_LOST);
    EXPECT_EQ(vmrpc_malloc(client.connection, 1, nullptr), nullptr);
    EXPECT_EQ(VMRPC_LAST_STATUS(), VMRPC_PEER_LOST);
}

TEST(CapiCaller, IsKnownInACallOnly) {
    const CapiServer server;
    const CapiClient client(server);
    EXPECT_EQ(capi_caller_outside(), nullptr);
    EXPECT_EQ(VMRPC_CALLER(), nullptr);
    std::uint32_t seen = 0;
    ASSERT_EQ(capi_who_call(client.connection, nullptr, &seen), VMRPC_OK);
    EXPECT_EQ(seen, 7U) << "bits as capi_functions.h says";
    EXPECT_EQ(VMRPC_CALLER(), nullptr);
}

}  // namespace
}  // namespace vmrpc::test
