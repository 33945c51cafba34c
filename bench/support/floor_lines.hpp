// The physical floor of a call: two cache lines, one to and one back.
#pragma once

#include "base/cpu.hpp"

#include <atomic>
#include <cstdint>

namespace vmrpc::bench {

/// In the loop that spins. Which is faster depends on the processor; the better one counts as the floor.
enum class Pause { kNo, kYes };

/// Far enough apart for no prefetcher to fetch one with the other. Each has one writer, and each release store pairs
/// with the acquire load of the side that spins on it: the orders that a call needs, too.
struct FloorLines {
    alignas(1024) std::atomic<std::uint64_t> request;
    alignas(1024) std::atomic<std::uint64_t> reply;
};

template <Pause kPause>
void await_number(const std::atomic<std::uint64_t>& word, std::uint64_t value) {
    while (word.load(std::memory_order_acquire) != value) {
        if constexpr (kPause == Pause::kYes) base::cpu_pause();
    }
}

/// Answers each number with the same one.
template <Pause kPause>
[[noreturn]] void echo_numbers(FloorLines& lines) {
    for (std::uint64_t number = 1;; ++number) {
        await_number<kPause>(lines.request, number);
        lines.reply.store(number, std::memory_order_release);
    }
}

/// So many numbers there and back, after `number`, the last one before.
template <Pause kPause>
void exchange_numbers(FloorLines& lines, std::uint64_t& number, int count) {
    for (int i = 0; i < count; ++i) {
        lines.request.store(++number, std::memory_order_release);
        await_number<kPause>(lines.reply, number);
    }
}

}  // namespace vmrpc::bench
