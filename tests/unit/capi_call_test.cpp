// Calls through the macros, from C and from C++, with every kind of argument; resolving ahead; time limits.
#include "capi_server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

VMRPC_DECLARE(int, capi_absent, (VALUE, int, value))

namespace vmrpc::test {
namespace {

using testing::HasSubstr;

// capi_sum with another signature, as a program that was built from another header has it.
constexpr vmrpc_impl_argument kFloats{VMRPC_IMPL_SPAN, VMRPC_IMPL_ARITHMETIC, sizeof(float), alignof(float)};
vmrpc_impl_function other_sum{
    sizeof other_sum, "capi_sum", 0, 1, &kFloats, {VMRPC_IMPL_VALUE, 0, sizeof(float), alignof(float)}, 0};

TEST(CapiCall, FromCWithEveryKindOfArgument) {
    const CapiServer server;
    const CapiClient client(server);
    EXPECT_EQ(capi_call_all(client.connection), 0) << "line of capi_client.c; " << VMRPC_LAST_ERROR_TEXT();
    ASSERT_EQ(capi_nothing_call(client.connection, nullptr), VMRPC_OK) << "what was given up before is answered";
    EXPECT_EQ(client.stats().live_blocks, 0U);
}

TEST(CapiCall, FromCWithEveryKindOfArgumentBetweenPeersThatTrust) {
    const CapiServer server(1);
    vmrpc_connect_options trusting{};
    trusting.trust_peer = 1;
    const CapiClient client(server, trusting);
    EXPECT_EQ(capi_call_all(client.connection), 0) << "line of capi_client.c; " << VMRPC_LAST_ERROR_TEXT();
}

TEST(CapiCall, FromCppUsesTheSameStubs) {
    const CapiServer server;
    const CapiClient client(server);
    std::vector<std::uint16_t> values(1000, 7);
    EXPECT_EQ(capi_double_call(client.connection, nullptr, values.data(), values.size()), VMRPC_OK);
    EXPECT_EQ(values, std::vector<std::uint16_t>(1000, 14));
}

TEST(CapiCall, CountsSpansThatItHadToCopy) {
    const CapiServer server;
    const CapiClient client(server);
    auto* in_heap = static_cast<double*>(vmrpc_malloc(client.connection, 3 * sizeof(double), nullptr));
    ASSERT_NE(in_heap, nullptr);
    for (int i = 0; i < 3; ++i) in_heap[i] = i;
    double sum = 0;
    ASSERT_EQ(capi_sum_call(client.connection, nullptr, &sum, in_heap, 3), VMRPC_OK);
    EXPECT_EQ(sum, 3);
    EXPECT_EQ(client.stats().implicit_copies, 0U);
    const double outside[] = {1, 2};
    ASSERT_EQ(capi_sum_call(client.connection, nullptr, &sum, outside, 2), VMRPC_OK);
    EXPECT_EQ(client.stats().implicit_copies, 1U);
    EXPECT_EQ(client.stats().implicit_copy_bytes, sizeof outside);
    EXPECT_EQ(client.stats().live_blocks, 1U) << "the copy is freed";
    EXPECT_EQ(vmrpc_free(client.connection, in_heap), VMRPC_OK);
}

TEST(CapiCall, RefusesASpanLargerThanTheAddressSpace) {
    const CapiServer server;
    const CapiClient client(server);
    double sum = 0;
    EXPECT_EQ(capi_sum_call(client.connection, nullptr, &sum, &sum, SIZE_MAX / 2), VMRPC_BAD_ARGUMENT);
}

TEST(CapiCall, RefusesASpanThatLeavesTheHeap) {
    const CapiServer server;
    const CapiClient client(server);
    std::uint64_t address = 0;
    auto* bytes = static_cast<char*>(vmrpc_malloc(client.connection, 16, nullptr));
    ASSERT_NE(bytes, nullptr);
    // Half in the heap, half beyond its end: neither in place nor to be copied, as large as it is.
    EXPECT_EQ(capi_address_call(client.connection, nullptr, &address, bytes, std::size_t{1} << 40), VMRPC_HEAP_FULL);
    EXPECT_EQ(vmrpc_free(client.connection, bytes), VMRPC_OK);
}

TEST(CapiCall, RefusesOptionsOfAnotherVersion) {
    const CapiServer server;
    const CapiClient client(server);
    const vmrpc_call_options options{.struct_bytes = 1, .limit_ns = 0};
    EXPECT_EQ(capi_nothing_call(client.connection, &options), VMRPC_BAD_ARGUMENT);
    EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr("vmrpc_call_options"));
}

TEST(CapiCall, WithALimitThatHasPassed) {
    const CapiServer server;
    const CapiClient client(server);
    const vmrpc_call_options options{.struct_bytes = sizeof options, .limit_ns = -1};
    EXPECT_EQ(capi_nothing_call(client.connection, &options), VMRPC_TIMED_OUT);
}

TEST(CapiCall, WithALimitThatDoesNotPass) {
    const CapiServer server;
    const CapiClient client(server);
    const vmrpc_call_options options{.struct_bytes = sizeof options, .limit_ns = 60'000'000'000};
    EXPECT_EQ(capi_nothing_call(client.connection, &options), VMRPC_OK);
}

TEST(CapiRequire, FindsWhatIsThere) {
    const CapiServer server;
    const CapiClient client(server);
    EXPECT_EQ(VMRPC_REQUIRE(client.connection, capi_eight), VMRPC_OK);
}

TEST(CapiRequire, NamesWhatIsUnknown) {
    const CapiServer server;
    const CapiClient client(server);
    EXPECT_EQ(VMRPC_REQUIRE(client.connection, capi_absent), VMRPC_UNKNOWN_FUNCTION);
    EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr("capi_absent"));
    int result = 0;
    EXPECT_EQ(capi_absent_call(client.connection, nullptr, &result, 1), VMRPC_UNKNOWN_FUNCTION);
}

TEST(CapiRequire, ShowsBothSignaturesOfAMismatch) {
    const CapiServer server;
    const CapiClient client(server);
    EXPECT_EQ(vmrpc_impl_require(client.connection, &other_sum), VMRPC_SIGNATURE_MISMATCH);
    EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr("capi_sum(span 4/4) -> value 4/4"));
    EXPECT_THAT(VMRPC_LAST_ERROR_TEXT(), HasSubstr("capi_sum(span 8/8) -> value 8/8"));
    EXPECT_EQ(capi_nothing_call(client.connection, nullptr), VMRPC_OK) << "the connection goes on";
}

}  // namespace
}  // namespace vmrpc::test
