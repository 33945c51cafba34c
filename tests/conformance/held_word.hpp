// A word that functions wait for: wait_for_word().
#pragma once

#include "conformance/fixture.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>

namespace conformance {

/// Longer than any test runs.
inline constexpr auto kLong = std::chrono::minutes(10);

/// Holds calls in the server until it lets them go; at the latest when it goes itself. Its connection must have nothing
/// in flight then that waits for another word.
class HeldWord {
  public:
    explicit HeldWord(const vmrpc::Client& client)
        : client_(client), word_(client.heap().make_array<std::uint32_t>(1).value()) {
        word_[0] = 0;
    }
    // The word is freed when the server no longer looks at it: calls of one connection are executed in order.
    ~HeldWord() {
        let_go();
        auto answered = client_.call_within<null>(kPatience);
        while (!answered && answered.error().status == VMRPC_BUSY) answered = client_.call_within<null>(kPatience);
        EXPECT_TRUE(answered);
    }
    HeldWord(const HeldWord&) = delete;
    HeldWord& operator=(const HeldWord&) = delete;
    [[nodiscard]] vmrpc::Ptr<std::uint32_t> ptr() const { return word_.ptr(); }
    // Pairs with the acquire load in server.cpp, serve_wait_for_word.
    void let_go() { std::atomic_ref(word_[0]).store(1, std::memory_order_release); }

  private:
    static constexpr auto kPatience = std::chrono::seconds(40);
    const vmrpc::Client& client_;
    vmrpc::Array<std::uint32_t> word_;
};

}  // namespace conformance
