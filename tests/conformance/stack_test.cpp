// Conformance: code on the RPC stack, whose locals are arguments in place.
#include "conformance/fixture.hpp"

#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

namespace conformance {
namespace {

/// Where the calling code's stack is.
[[gnu::noinline]] std::uintptr_t here() {
    return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
}

/// The same of code that this thread runs on the client's RPC stack: always the same code, whose frames are alike.
std::uintptr_t rpc_stack_of(const vmrpc::Client& client) {
    return vmrpc::on_rpc_stack(client, [] { return here(); }).value();
}

bool client_owns(const vmrpc::Client& client, double* place) {
    return static_cast<bool>(vmrpc::Ptr<double>::to(place, client.handle()));
}

TEST_F(Calls, ASpanOfALocalIsPassedInPlaceInAndOut) {
    const auto client = connect();
    const auto result = vmrpc::on_rpc_stack(client, [&] {
        std::array<double, 10'000> values;  // more than is snapshot: in place for clients that are not trusted, too
        std::iota(values.begin(), values.end(), 1.0);
        const double total = client.call<sum>(values).value();
        EXPECT_TRUE(client.call<scale>(values, 2.0));
        EXPECT_DOUBLE_EQ(values.front(), 2.0);
        EXPECT_DOUBLE_EQ(values.back(), 20'000.0);
        return total;
    });
    ASSERT_TRUE(result) << result.error().message();
    EXPECT_DOUBLE_EQ(*result, 10'000.0 * 10'001.0 / 2);
    EXPECT_EQ(client.stats().implicit_copies, 0U);
}

TEST_F(Calls, APlainListOfLocalsIsFollowed) {
    const auto client = connect({.trust_peer = true});
    ASSERT_TRUE(vmrpc::on_rpc_stack(client, [&] {
        Node last{nullptr, 3};
        Node middle{&last, 2};
        Node first{&middle, 1};
        EXPECT_EQ(client.call<sum_list>(&first).value(), 6);
        EXPECT_TRUE(client.call<append>(&first, 4));
        ASSERT_NE(last.next, nullptr) << "the server wrote to a local";
        EXPECT_EQ(client.call<sum_list>(&first).value(), 10);
        EXPECT_TRUE(client.heap().free(last.next));
    }));
    EXPECT_EQ(client.stats().implicit_copies, 0U);
}

TEST_F(Calls, APtrToALocalWorksAtUnequalAddresses) {
    const auto client = connect({.trust_peer = true, .unequal_addresses = true});
    ASSERT_TRUE(vmrpc::on_rpc_stack(client, [&] {
        FarNode last{{}, 40};
        FarNode first{vmrpc::Ptr<FarNode>::to(&last, client.handle()), 2};
        EXPECT_EQ(client.call<sum_far_list>(vmrpc::Ptr<FarNode>::to(&first, client.handle())).value(), 42);
    }));
}

TEST_F(Calls, ValuesReferencesTextsAndFramesGoFromTheStackToo) {
    const auto client = connect();
    ASSERT_TRUE(vmrpc::on_rpc_stack(client, [&] {
        Counter counter{5, 0};
        ASSERT_TRUE(client.call<bump>(counter, Counter{2, 0}));
        EXPECT_EQ(counter.value, 7);
        EXPECT_EQ(counter.steps, 1);
        Big big{};
        std::iota(big.words.begin(), big.words.end(), 0U);
        EXPECT_EQ(client.call<reverse>(big).value().words.front(), big.words.back());
        const std::array<char, 13> text{'s', 'h', 'a', 'r', 'e', 'd', ' ', 'm', 'e', 'm', 'o', 'r', 'y'};
        EXPECT_EQ(client.call<digest>(std::string_view(text.data(), text.size())).value(), digest_of("shared memory"));
        EXPECT_TRUE(client.call<sleep_ms>(20)) << "waiting, on that stack";
        EXPECT_EQ(client.call<fail>("on purpose").error().text, "on purpose");
    }));
    EXPECT_EQ(client.stats().implicit_copies, 1U) << "of \"on purpose\", which is no local";
}

TEST_F(Calls, TheStackIsTheThreadsOwnAndIsReused) {
    const auto client = connect();
    const std::uintptr_t first = rpc_stack_of(client);
    EXPECT_EQ(rpc_stack_of(client), first);
    EXPECT_TRUE(vmrpc::Ptr<char>::to(reinterpret_cast<char*>(first), client.handle())) << "in shared memory";
    std::uintptr_t other = 0;
    std::thread([&] {
        static_cast<void>(client.call<null>());
        other = rpc_stack_of(client);
    }).join();
    EXPECT_NE(other, first);
}

TEST_F(Calls, NestedCodeRunsOnTheSameStack) {
    const auto client = connect();
    const auto depth = vmrpc::on_rpc_stack(client, [&] {
        const std::uintptr_t outer = here();
        const std::uintptr_t inner = vmrpc::on_rpc_stack(client, [&] {
                                         EXPECT_TRUE(client.call<null>());
                                         return here();
                                     }).value();
        return outer - inner;
    });
    ASSERT_TRUE(depth);
    EXPECT_LT(*depth, 64U * 1024) << "right below, not anew from the top";
}

TEST_F(Calls, StacksOfTwoConnectionsNest) {
    const auto one = connect();
    const auto other = connect();
    const auto result = vmrpc::on_rpc_stack(one, [&] {
        std::array<double, 3'000> outer;
        outer.fill(1);
        const auto inner_result = vmrpc::on_rpc_stack(other, [&] {
            std::array<double, 3'000> middle;
            middle.fill(2);
            // The first one's stack again, below what lies on it.
            const auto innermost = vmrpc::on_rpc_stack(one, [&] {
                std::array<double, 3'000> inner;
                inner.fill(3);
                EXPECT_TRUE(client_owns(one, inner.data()));
                return one.call<sum>(inner).value() + one.call<sum>(outer).value();
            });
            EXPECT_TRUE(client_owns(other, middle.data()));
            return innermost.value() + other.call<sum>(middle).value();
        });
        return inner_result.value() + one.call<sum>(outer).value();
    });
    ASSERT_TRUE(result) << result.error().message();
    EXPECT_DOUBLE_EQ(*result, 3'000.0 * (3 + 1 + 2 + 1));
    EXPECT_EQ(one.stats().implicit_copies + other.stats().implicit_copies, 0U);
}

TEST_F(Calls, AnExceptionComesOutOfTheStack) {
    const auto client = connect();
    bool was_destroyed = false;
    const std::shared_ptr<void> witness(nullptr, [&](void*) { was_destroyed = true; });
    try {
        static_cast<void>(vmrpc::on_rpc_stack(client, [&, held = witness]() mutable -> int {
            const auto local = std::move(held);
            try {
                throw std::logic_error("inside");
            } catch (const std::logic_error&) {
                EXPECT_TRUE(client.call<null>()) << "while one is handled";
            }
            throw std::runtime_error("out of the stack");
        }));
        ADD_FAILURE() << "nothing came out";
    } catch (const std::runtime_error& error) {
        EXPECT_STREQ(error.what(), "out of the stack");
    }
    EXPECT_EQ(witness.use_count(), 1) << "locals were destroyed";
    EXPECT_EQ(std::uncaught_exceptions(), 0);
    EXPECT_EQ(vmrpc::on_rpc_stack(client, [] { return 5; }).value(), 5);
}

TEST_F(Calls, AnExceptionEndsAtTheCApi) {
    const auto client = connect();
    EXPECT_EQ(VMRPC_ON_RPC_STACK(
                  client.handle(), [](void*) { throw std::runtime_error("thrown at C"); }, nullptr),
              VMRPC_FUNCTION_FAILED);
    EXPECT_NE(std::string(VMRPC_LAST_ERROR_TEXT()).find("thrown at C"), std::string::npos);
    EXPECT_EQ(VMRPC_ON_RPC_STACK(
                  client.handle(), [](void*) { throw 42; }, nullptr),
              VMRPC_FUNCTION_FAILED);
    EXPECT_EQ(VMRPC_ON_RPC_STACK(client.handle(), nullptr, nullptr), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(VMRPC_ON_RPC_STACK(
                  nullptr, [](void*) {}, nullptr),
              VMRPC_BAD_ARGUMENT);
}

TEST_F(Calls, WhatTheCallableReturnsIsMovedOut) {
    const auto client = connect();
    auto made = vmrpc::on_rpc_stack(client, [owned = std::make_unique<int>(7)]() mutable { return std::move(owned); });
    ASSERT_TRUE(made);
    EXPECT_EQ(**made, 7);
}

TEST_F(Calls, AThreadWithoutALaneOfItsOwnIsTold) {
    const auto client = connect({.max_lanes = 1});
    bool has_run = false;
    const auto result = vmrpc::on_rpc_stack(client, [&] { has_run = true; });
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().status, VMRPC_BUSY);
    EXPECT_NE(result.error().text.find("max_lanes"), std::string::npos) << result.error().text;
    EXPECT_FALSE(has_run);
    EXPECT_TRUE(client.call<null>());
}

TEST_F(Calls, TheConnectionIsNotClosedUnderRunningCode) {
    const auto client = connect();
    const auto status = vmrpc::on_rpc_stack(client, [&] { return vmrpc_close(client.handle()); });
    EXPECT_EQ(status.value(), VMRPC_BAD_ARGUMENT);
    EXPECT_TRUE(client.call<null>());
}

TEST_F(Calls, ACallWithLocalsOutlastsItsTimeLimit) {
    const auto client = connect();
    ASSERT_TRUE((client.require<scale_slowly, sleep_ms>()));
    ASSERT_TRUE(vmrpc::on_rpc_stack(client, [&] {
        constexpr auto kLimit = std::chrono::milliseconds(200);
        std::array<double, 4'000> values;
        values.fill(1);
        const auto result = client.call_within<scale_slowly>(kLimit, values, 3.0, 600);
        EXPECT_TRUE(result) << result.error().message();
        EXPECT_DOUBLE_EQ(values.back(), 3.0) << "the server has done with it";
        EXPECT_EQ(client.call_within<sleep_ms>(kLimit, 600).error().status, VMRPC_TIMED_OUT)
            << "without locals it is given up";
    }));
}

// Under AddressSanitizer with detect_stack_use_after_return, for which there is a run of its own.
TEST_F(Calls, LocalsElsewhereAreSaidToBeThere) {
    const char* options = std::getenv("ASAN_OPTIONS");
    const bool elsewhere =
        options != nullptr && std::string_view(options).find("use_after_return=1") != std::string_view::npos;
#if !defined(__has_feature)
#define __has_feature(feature) 0
#endif
    if (!__has_feature(address_sanitizer) || !elsewhere) GTEST_SKIP() << "locals lie on the stack";
    const auto client = connect();
    const auto result = vmrpc::on_rpc_stack(client, [] {});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().status, VMRPC_NOT_SUPPORTED);
    EXPECT_NE(result.error().text.find("detect_stack_use_after_return=0"), std::string::npos) << result.error().text;
}

}  // namespace
}  // namespace conformance
