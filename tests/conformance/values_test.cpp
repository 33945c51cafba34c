// Conformance: what is passed by value, and what a function can know of its caller.
#include "conformance/fixture.hpp"

namespace conformance {
namespace {

TEST_F(Calls, ValuesTravelBothWays) {
    const auto client = connect();
    EXPECT_EQ(client.call<add>(40, 2).value(), 42);
    EXPECT_EQ(client.call<add>(-(std::int64_t{1} << 60), -5).value(), -(std::int64_t{1} << 60) - 5);
    EXPECT_TRUE(client.call<null>());
}

TEST_F(Calls, AReferenceIsCopiedThereAndBack) {
    const auto client = connect();
    Counter counter{5, 0};
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(client.call<bump>(counter, Counter{10, 0}));
    EXPECT_EQ(counter.value, 35);
    EXPECT_EQ(counter.steps, 3);
}

TEST_F(Calls, LargeValuesGoOverTheRpcStack) {
    const auto client = connect();
    Big big{};
    for (std::size_t i = 0; i < big.words.size(); ++i) big.words[i] = i * i;
    const Big reversed = client.call<reverse>(big).value();
    for (std::size_t i = 0; i < big.words.size(); ++i)
        ASSERT_EQ(reversed.words[i], big.words[big.words.size() - 1 - i]);
}

TEST_F(Calls, AFunctionKnowsItsCallerAndKeepsStateForIt) {
    const auto first = connect();
    const auto second = connect();
    const CallerFacts facts = first.call<who>().value();
    EXPECT_EQ(facts.calls, 1);
    EXPECT_EQ(facts.trusted, 0);
    EXPECT_EQ(first.call<who>().value().calls, 2);
    const CallerFacts other = second.call<who>().value();
    EXPECT_EQ(other.calls, 1);
    EXPECT_NE(other.connection_number, facts.connection_number);
    EXPECT_EQ(other.uid, facts.uid);
}

TEST_F(Calls, TrustNeedsBothSides) {
    const auto client = connect({.trust_peer = true});
    EXPECT_EQ(client.call<who>().value().trusted, 1);
}

TEST_F(Calls, FunctionsCanBeRequiredAhead) {
    const auto client = connect();
    EXPECT_TRUE((client.require<add, bump, iota>()));
    const auto missing = client.require<add, vmrpc::named<"conformance::nowhere", void()>>();
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().status, VMRPC_UNKNOWN_FUNCTION);
    EXPECT_NE(missing.error().text.find("conformance::nowhere"), std::string::npos);
}

TEST_F(Calls, AnotherSignatureIsShownBesideTheServers) {
    const auto client = connect();
    const auto result = client.call<vmrpc::named<"conformance::add", std::int64_t(std::int64_t)>>(1);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().status, VMRPC_SIGNATURE_MISMATCH);
    EXPECT_EQ(result.error().remedy(), vmrpc::Remedy::kFixTheCall);
    EXPECT_NE(result.error().text.find("conformance::add(value 8/8) -> value 8/8"), std::string::npos);
    EXPECT_NE(result.error().text.find("conformance::add(value 8/8, value 4/4) -> value 8/8"), std::string::npos);
}

TEST_F(Calls, AnExceptionsTextReachesTheCaller) {
    const auto client = connect();
    const auto result = client.call<fail>("the disk is full");
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().status, VMRPC_FUNCTION_FAILED);
    EXPECT_EQ(result.error().text, "the disk is full");
    EXPECT_TRUE(client.call<null>()) << "the connection goes on";
    const std::string long_text(10'000, 'x');
    EXPECT_EQ(client.call<fail>(long_text).error().text.find_first_not_of('x'), std::string::npos);
}

struct Huge {
    std::array<char, 100'000> bytes;
};

TEST_F(Calls, AFrameThatIsTooLargeIsRefused) {
    const auto client = connect();
    const auto result = client.call<vmrpc::named<"conformance::huge", void(const Huge&)>>(Huge{});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().status, VMRPC_FRAME_TOO_LARGE);
    EXPECT_NE(result.error().text.find("100000"), std::string::npos);
}

}  // namespace
}  // namespace conformance
