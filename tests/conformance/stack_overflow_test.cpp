// Conformance: code that runs over the end of its RPC stack.
#include "conformance/fixture.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CONFORMANCE_SANITIZED 1
#endif
#if __has_feature(thread_sanitizer)
#define CONFORMANCE_TSAN 1
#endif
#endif

namespace conformance {
namespace {

/// How deep the last go_down() came.
volatile std::uintptr_t lowest = 0;

/// Goes down a frame of some bytes at a time, up to `frames` deep, or to `floor`, and counts them.
// NOLINTNEXTLINE(misc-no-recursion): that is its purpose
[[gnu::noinline]] int go_down(int frames, volatile int& count, void (*at_bottom)() = nullptr,
                              std::uintptr_t floor = 0) {
    std::array<volatile char, 512> used;
    used.front() = static_cast<char>(frames);
    count = count + 1;
    lowest = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    if (frames > 1 && lowest > floor) return go_down(frames - 1, count, at_bottom, floor) + used.front();
    if (at_bottom != nullptr) at_bottom();
    return used.front();
}

constexpr int kNoEnd = 1'000'000;

class StackOverflow : public Calls {
  protected:
    void SetUp() override {
#ifdef CONFORMANCE_TSAN
        GTEST_SKIP() << "ThreadSanitizer does not let a signal handler leave";
#endif
    }
};

TEST_F(StackOverflow, IsAnErrorAndTheStackIsUsableAgain) {
    const auto client = connect();
    for (int i = 0; i < 3; ++i) {
        volatile int depth = 0;
        const auto result = vmrpc::on_rpc_stack(client, [&] { return go_down(kNoEnd, depth); });
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().status, VMRPC_STACK_OVERFLOW);
        EXPECT_EQ(result.error().remedy(), vmrpc::Remedy::kFixTheCall);
        EXPECT_NE(result.error().text.find("bytes"), std::string::npos) << result.error().text;
        EXPECT_GT(depth, 100);
        ASSERT_TRUE(vmrpc::on_rpc_stack(client, [&] {
            std::array<double, 5'000> values;
            values.fill(1);
            EXPECT_DOUBLE_EQ(client.call<sum>(values).value(), 5'000);
        }));
    }
    EXPECT_TRUE(client.call<null>());
}

TEST_F(StackOverflow, ForgetsTheExceptionThatWasHandled) {
    const auto client = connect();
    volatile int depth = 0;
    const auto result = vmrpc::on_rpc_stack(client, [&] {
        try {
            throw std::runtime_error("handled");
        } catch (const std::runtime_error&) {
            return go_down(kNoEnd, depth);
        }
    });
    EXPECT_EQ(result.error().status, VMRPC_STACK_OVERFLOW);
    EXPECT_EQ(std::current_exception(), nullptr);
}

TEST_F(StackOverflow, OfTheInnerOfTwoStacksLeavesTheOuter) {
    const auto one = connect();
    const auto other = connect();
    const auto result = vmrpc::on_rpc_stack(one, [&] {
        std::array<double, 5'000> values;
        values.fill(1);
        volatile int depth = 0;
        const auto inner = vmrpc::on_rpc_stack(other, [&] { return go_down(kNoEnd, depth); });
        EXPECT_EQ(inner.error().status, VMRPC_STACK_OVERFLOW);
        return one.call<sum>(values).value();
    });
    EXPECT_DOUBLE_EQ(result.value(), 5'000);
}

TEST_F(StackOverflow, DoesNotHappenInACall) {
    const auto client = connect();
    volatile int depth = 0;
    static_cast<void>(vmrpc::on_rpc_stack(client, [&] { return go_down(kNoEnd, depth); }));
    static const vmrpc::Client* caller = nullptr;
    static vmrpc::Result<double> answer = 0.0;
    caller = &client;
    volatile int again = 0;
    const std::uintptr_t floor = lowest + std::uintptr_t{10} * 1024;
    const auto result = vmrpc::on_rpc_stack(client, [&] {
        return go_down(
            kNoEnd, again,
            [] {
                const std::array<double, 2> values{1, 2};
                answer = caller->call<sum>(values);
            },
            floor);
    });
    EXPECT_TRUE(result);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().status, VMRPC_STACK_OVERFLOW);
    EXPECT_TRUE(client.call<null>());
}

#ifndef CONFORMANCE_SANITIZED
/// In a process of its own: runs over the end in the C library.
void overflow_in_the_c_library() {
    const auto client = vmrpc::Client::connect(server_address()).value();
    volatile int depth = 0;
    static_cast<void>(vmrpc::on_rpc_stack(client, [&] { return go_down(kNoEnd, depth); }));
    volatile int again = 0;
    const int frames = depth - 1;
    static_cast<void>(vmrpc::on_rpc_stack(client, [&] {
        return go_down(frames, again, [] {
            std::array<char, 32> text{};
            std::snprintf(text.data(), text.size(), "%f", 1.5);
        });
    }));
}

TEST_F(StackOverflow, InAnotherLibraryEndsTheProcessWithAMessage) {
    EXPECT_EXIT(overflow_in_the_c_library(), testing::KilledBySignal(SIGSEGV), "ran over the stack's end");
}

TEST_F(StackOverflow, OtherFaultsArePassedOn) {
    EXPECT_EXIT(
        {
            const auto client = vmrpc::Client::connect(server_address()).value();
            static_cast<void>(vmrpc::on_rpc_stack(client, [] {
                volatile char* nowhere = nullptr;
                *nowhere = 1;
            }));
        },
        testing::KilledBySignal(SIGSEGV), "");
}
#endif

}  // namespace
}  // namespace conformance
