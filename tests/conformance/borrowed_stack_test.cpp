// Conformance: functions that run on their caller's RPC stack.
#include "conformance/callback_functions.hpp"
#include "conformance/fixture.hpp"

#include <array>
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <string>

namespace conformance {
namespace {

class BorrowedStack : public Calls {
  protected:
    [[nodiscard]] static vmrpc::Client connect() { return Calls::connect({.trust_peer = true, .borrow_stack = true}); }
    [[nodiscard]] static bool is_shared(const vmrpc::Client& client, std::uint64_t address) {
        return static_cast<bool>(vmrpc::Ptr<char>::to(reinterpret_cast<char*>(address), client.handle()));
    }
};

[[gnu::noinline]] std::uint64_t stack_here() {
    return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
}

TEST_F(BorrowedStack, RunsTheFunctionBelowItsCaller) {
    const auto client = connect();
    ASSERT_TRUE(vmrpc::on_rpc_stack(client, [&] {
        const std::uint64_t callee = client.call<stack_of_function>().value();
        EXPECT_TRUE(is_shared(client, callee));
        EXPECT_LT(callee, stack_here());
        EXPECT_LT(stack_here() - callee, 64U * 1024);
        std::array<char, 20'000> deeper;
        deeper.front() = 1;
        const auto nested = vmrpc::on_rpc_stack(client, [&] { return client.call<stack_of_function>().value(); });
        EXPECT_LT(nested.value(), reinterpret_cast<std::uintptr_t>(deeper.data()));
    }));
}

TEST_F(BorrowedStack, IsForCodeOnTheStackOnly) {
    const auto client = connect();
    EXPECT_FALSE(is_shared(client, client.call<stack_of_function>().value()));
    ASSERT_TRUE(vmrpc::on_rpc_stack(client, [&] {
        const auto timed = client.call_within<stack_of_function>(std::chrono::seconds(10));
        EXPECT_FALSE(is_shared(client, timed.value())) << "a call with a limit may be given up, a stack may not";
    }));
    const auto other = Calls::connect({.trust_peer = true});
    EXPECT_FALSE(
        is_shared(other, vmrpc::on_rpc_stack(other, [&] { return other.call<stack_of_function>(); })->value()));
}

TEST_F(BorrowedStack, CarriesEverythingThatACallCarries) {
    const auto client = connect();
    ASSERT_TRUE(vmrpc::on_rpc_stack(client, [&] {
        std::array<double, 1'000> values;
        values.fill(2);
        EXPECT_DOUBLE_EQ(client.call<sum>(values).value(), 2'000);
        ASSERT_TRUE(client.call<scale>(values, 2.0));
        EXPECT_DOUBLE_EQ(values.back(), 4);
        EXPECT_EQ(client.call<add>(40, 2).value(), 42);
        Counter counter{1, 0};
        ASSERT_TRUE(client.call<bump>(counter, Counter{2, 0}));
        EXPECT_EQ(counter.value, 3);
        Big big{};
        std::iota(big.words.begin(), big.words.end(), 0U);
        EXPECT_EQ(client.call<reverse>(big).value().words.front(), big.words.back()) << "frames, on that stack too";
        Node node{nullptr, 1};
        ASSERT_TRUE(client.call<append>(&node, 5));
        EXPECT_EQ(client.call<sum_list>(&node).value(), 6);
        EXPECT_TRUE(client.heap().free(node.next));
        EXPECT_EQ(client.call<iota>(100).value()[99], 99);
        EXPECT_TRUE(client.call<sleep_ms>(20));
        EXPECT_EQ(client.call<fail>("thrown down there").error().text, "thrown down there");
        EXPECT_TRUE(client.call<null>());
    }));
    EXPECT_EQ(client.stats().implicit_copies, 1U) << "of the text, which is no local";
}

TEST_F(BorrowedStack, ReturnsManyTimes) {
    const auto client = connect();
    const auto total = vmrpc::on_rpc_stack(client, [&] {
        std::int64_t sum_of_all = 0;
        for (std::int32_t i = 0; i < 2'000; ++i) sum_of_all += client.call<add>(sum_of_all, i).value() - sum_of_all;
        return sum_of_all;
    });
    EXPECT_EQ(total.value(), 1'999'000);
}

TEST_F(BorrowedStack, IsWipedOfWhatTheFunctionLeft) {
    const auto client = connect();
    ASSERT_TRUE(vmrpc::on_rpc_stack(client, [&] {
        const std::uint64_t left = client.call<leave_secrets>().value();
        ASSERT_TRUE(is_shared(client, left));
        const auto* words = reinterpret_cast<const volatile std::uint64_t*>(left);
        for (int i = 0; i < 1'500; ++i) {
            if (reinterpret_cast<std::uintptr_t>(words + i) > stack_here() - 512) break;
            ASSERT_NE(words[i], kSecret) << i;
        }
    }));
}

/// Without a frame of this code's own there, which would write over what was left.
[[gnu::noinline]] bool holds_a_secret(std::uint64_t place) {
    const auto* words = reinterpret_cast<const volatile std::uint64_t*>(place);
    bool found = false;
    for (int i = 0; i < 8; ++i) found |= words[i] == kSecret;
    return found;
}

// How deep functions go decides how the stack is wiped: within what is there already, far below it, once in a while.
TEST_F(BorrowedStack, IsWipedHoweverDeepTheFunctionWent) {
    const auto client = connect();
    ASSERT_TRUE(vmrpc::on_rpc_stack(client, [&] {
        std::uint64_t state = 1;
        for (int i = 0; i < 1'500; ++i) {
            state = state * 6'364'136'223'846'793'005 + 1'442'695'040'888'963'407;
            const std::uint64_t depth_bytes = 8'192 + (i % 3 == 0 ? (state >> 33) % 200'000 : (state >> 33) % 30'000);
            const std::uint64_t left = client.call<leave_secret_below>(depth_bytes).value();
            ASSERT_TRUE(is_shared(client, left));
            ASSERT_FALSE(holds_a_secret(left)) << "call " << i << ", " << depth_bytes << " bytes down";
        }
    }));
}

TEST_F(BorrowedStack, CannotCallBackFromThere) {
    const auto client = connect();
    const auto asked = vmrpc::on_rpc_stack(client, [&] { return client.call<ask_fail>("x").value().status; });
    EXPECT_EQ(asked.value(), VMRPC_NOT_SUPPORTED);
    EXPECT_EQ(client.call<ask_fail>("x").value().status, VMRPC_UNKNOWN_FUNCTION);
}

TEST_F(BorrowedStack, OverflowOfTheFunctionIsAnErrorAndTheServerGoesOn) {
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
    GTEST_SKIP() << "ThreadSanitizer does not let a signal handler leave";
#endif
#endif
    const auto client = connect();
    for (int i = 0; i < 3; ++i) {
        const auto result = vmrpc::on_rpc_stack(client, [&] { return client.call<run_over>(0); });
        ASSERT_TRUE(result);
        ASSERT_FALSE(*result);
        EXPECT_EQ(result->error().status, VMRPC_STACK_OVERFLOW);
        EXPECT_NE(result->error().text.find("run_over"), std::string::npos) << result->error().text;
        EXPECT_EQ(vmrpc::on_rpc_stack(client, [&] { return client.call<add>(1, 2).value(); }).value(), 3);
    }
    EXPECT_EQ(client.call<who>().value().trusted, 1);
}

/// Calls with arguments whose place is known, and which the library's frames name.
[[gnu::noinline]] vmrpc_status call_and_be_written_over(vmrpc_connection* connection) {
    std::uint64_t inverse = 0;
    std::uint64_t end = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    void* const arguments[] = {&inverse, &end, nullptr};  // NOLINT(*-avoid-c-arrays): the C API's
    inverse = ~static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(arguments));
    using Stub = decltype(vmrpc::detail::stub_of<write_over>());
    return vmrpc_impl_call(connection, &Stub::declaration(), nullptr, static_cast<void* const*>(arguments), nullptr);
}

TEST_F(BorrowedStack, ControlWordsThatWereWrittenOverEndTheConnectionAndNotTheProcess) {
    const auto client = connect();
    const auto witness = connect();
    const auto status = vmrpc::on_rpc_stack(client, [&] { return call_and_be_written_over(client.handle()); });
    ASSERT_TRUE(status) << status.error().message();
    EXPECT_EQ(*status, VMRPC_POISONED);
    const auto after = client.call<null>();
    ASSERT_FALSE(after);
    EXPECT_EQ(after.error().status, VMRPC_POISONED);
    EXPECT_NE(after.error().text.find("control words"), std::string::npos) << after.error().text;
    EXPECT_TRUE(witness.call<null>());
}

TEST_F(BorrowedStack, NeedsTrustOfTheClients) {
    const auto result = vmrpc::Client::connect(server_address(), {.borrow_stack = true});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().status, VMRPC_BAD_ARGUMENT);
    EXPECT_NE(result.error().text.find("trust_peer"), std::string::npos) << result.error().text;
}

TEST_F(BorrowedStack, NeedsAServerThatBorrowsAndTrusts) {
    const ServerThread server;  // trusts, does not borrow
    const auto result = vmrpc::Client::connect(server.address(), {.trust_peer = true, .borrow_stack = true});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().status, VMRPC_NOT_PERMITTED);
    EXPECT_NE(result.error().text.find("borrow_stack"), std::string::npos) << result.error().text;
    const TemporaryFolder folder;
    const std::string address = "local:" + (folder.path() / "untrusting.sock").string();
    const vmrpc::Server untrusting(address);
    ASSERT_TRUE(untrusting.status());
    const auto refused = vmrpc::Client::connect(address, {.trust_peer = true, .borrow_stack = true});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().status, VMRPC_NOT_PERMITTED);
    EXPECT_NE(refused.error().text.find("trust"), std::string::npos) << refused.error().text;
    EXPECT_EQ(vmrpc::Server(address + "2", {.borrow_stack = true}).status().error().status, VMRPC_BAD_ARGUMENT);
}

TEST_F(BorrowedStack, NeedsEqualAddresses) {
    const auto result =
        vmrpc::Client::connect(server_address(), {.trust_peer = true, .borrow_stack = true, .unequal_addresses = true});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().status, VMRPC_NOT_SUPPORTED);
}

}  // namespace
}  // namespace conformance
