// vmrpc_connect, vmrpc_serve and vmrpc_close with what they must refuse.
#include "capi_server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>

namespace vmrpc::test {
namespace {

using testing::HasSubstr;

vmrpc_connection* const kGarbage = reinterpret_cast<vmrpc_connection*>(std::uintptr_t{16});

template <class Change>
void expect_connect_refused(Change change, vmrpc_status status, const std::string& text) {
    vmrpc_connect_options options{};
    options.struct_bytes = sizeof options;
    change(options);
    vmrpc_connection* connection = kGarbage;
    EXPECT_EQ(vmrpc_connect("local:/nonexistent/s", &options, &connection), status);
    EXPECT_EQ(connection, nullptr);
    EXPECT_EQ(VMRPC_LAST_STATUS(), status);
    EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr(text));
}

template <class Change>
void expect_serve_refused(Change change, const std::string& text) {
    const TempFolder folder;
    vmrpc_serve_options options{};
    options.struct_bytes = sizeof options;
    change(options);
    auto* server = reinterpret_cast<vmrpc_server*>(kGarbage);
    EXPECT_EQ(vmrpc_serve(folder.address().c_str(), &options, &server), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(server, nullptr);
    EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr(text));
}

TEST(CapiConnect, WithoutAPlaceForTheConnection) {
    EXPECT_EQ(vmrpc_connect("local:/nonexistent/s", nullptr, nullptr), VMRPC_BAD_ARGUMENT);
}
TEST(CapiConnect, WithoutAnAddress) {
    vmrpc_connection* connection = kGarbage;
    EXPECT_EQ(vmrpc_connect(nullptr, nullptr, &connection), VMRPC_BAD_ADDRESS);
    EXPECT_EQ(connection, nullptr);
}
TEST(CapiConnect, WithAnUnknownScheme) {
    vmrpc_connection* connection = kGarbage;
    EXPECT_EQ(vmrpc_connect("pigeon:coo", nullptr, &connection), VMRPC_BAD_ADDRESS);
    EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr("local"));
}
TEST(CapiConnect, WithoutAServer) {
    expect_connect_refused([](auto&) {}, VMRPC_NO_SERVER, "/nonexistent/s");
}
TEST(CapiConnect, WithOptionsOfAnotherVersion) {
    expect_connect_refused([](auto& options) { --options.struct_bytes; }, VMRPC_BAD_ARGUMENT, "struct_bytes");
    expect_connect_refused([](auto& options) { options.struct_bytes = 0; }, VMRPC_BAD_ARGUMENT, "struct_bytes is 0");
}
TEST(CapiConnect, WithANegativeTimeout) {
    expect_connect_refused([](auto& options) { options.timeout_ns = -1; }, VMRPC_BAD_ARGUMENT, "timeout_ns -1");
}
TEST(CapiConnect, WithTooManyLanes) {
    expect_connect_refused([](auto& options) { options.max_lanes = 65; }, VMRPC_BAD_ARGUMENT, "max_lanes is 65");
}

TEST(CapiServe, WithoutAPlaceForTheServer) {
    EXPECT_EQ(vmrpc_serve("local:/nonexistent/s", nullptr, nullptr), VMRPC_BAD_ARGUMENT);
}
TEST(CapiServe, WithoutAnAddress) {
    auto* server = reinterpret_cast<vmrpc_server*>(kGarbage);
    EXPECT_EQ(vmrpc_serve(nullptr, nullptr, &server), VMRPC_BAD_ADDRESS);
    EXPECT_EQ(server, nullptr);
}
TEST(CapiServe, WithOptionsOfAnotherVersion) {
    expect_serve_refused([](auto& options) { ++options.struct_bytes; }, "struct_bytes");
}
TEST(CapiServe, WithTooManyLanes) {
    expect_serve_refused([](auto& options) { options.max_lanes = 1000; }, "max_lanes is 1000");
}

TEST(CapiClose, TakesNull) {
    EXPECT_EQ(vmrpc_close(nullptr), VMRPC_OK);
}
TEST(CapiClose, RefusesWhatIsNoHandle) {
    std::uint64_t no_handle[8] = {1};
    EXPECT_EQ(vmrpc_close(static_cast<void*>(no_handle)), VMRPC_BAD_ARGUMENT);
}

TEST(CapiClose, RefusesAHandleClosedBefore) {
    const CapiServer server;
    vmrpc_connection* connection = nullptr;
    ASSERT_EQ(vmrpc_connect(server.address().c_str(), nullptr, &connection), VMRPC_OK);
    EXPECT_EQ(vmrpc_close(connection), VMRPC_OK);
    EXPECT_EQ(vmrpc_close(connection), VMRPC_BAD_ARGUMENT);
    EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr("closed before"));
}
TEST(CapiClose, RefusesTheServersEndOfAConnection) {
    const CapiServer server;
    const CapiClient client(server);
    std::int32_t status = 0;
    ASSERT_EQ(capi_close_server_end_call(client.connection, nullptr, &status), VMRPC_OK);
    EXPECT_EQ(status, VMRPC_BAD_ARGUMENT);
}
TEST(CapiClose, RefusesAServerThatRuns) {
    const CapiServer server;
    const CapiClient client(server);
    ASSERT_EQ(capi_nothing_call(client.connection, nullptr), VMRPC_OK);  // so it runs
    EXPECT_EQ(vmrpc_close(server.server), VMRPC_BAD_ARGUMENT);
    EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr("running"));
    EXPECT_EQ(capi_nothing_call(client.connection, nullptr), VMRPC_OK);
}

TEST(CapiHandles, ThatAreNoneAreRefused) {
    double result = 0;
    std::uint64_t no_handle[8] = {1};
    for (void* handle : {static_cast<void*>(nullptr), static_cast<void*>(no_handle)}) {
        auto* connection = static_cast<vmrpc_connection*>(handle);
        EXPECT_EQ(capi_sum_call(connection, nullptr, &result, nullptr, 0), VMRPC_BAD_ARGUMENT);
        EXPECT_EQ(VMRPC_REQUIRE(connection, capi_sum), VMRPC_BAD_ARGUMENT);
        EXPECT_EQ(vmrpc_malloc(connection, 1, nullptr), nullptr);
        EXPECT_EQ(VMRPC_LAST_STATUS(), VMRPC_BAD_ARGUMENT);
        EXPECT_EQ(vmrpc_free(connection, no_handle), VMRPC_BAD_ARGUMENT);
        EXPECT_EQ(vmrpc_offset(connection, VMRPC_DEFAULT_HEAP), 0);
        EXPECT_EQ(vmrpc_heap_destroy(connection, 1), VMRPC_BAD_ARGUMENT);
        auto* server = static_cast<vmrpc_server*>(handle);
        EXPECT_EQ(VMRPC_RUN(server), VMRPC_BAD_ARGUMENT);
        EXPECT_EQ(VMRPC_ADD(server, capi_sum), VMRPC_BAD_ARGUMENT);
        VMRPC_STOP(server);
    }
}

}  // namespace
}  // namespace vmrpc::test
