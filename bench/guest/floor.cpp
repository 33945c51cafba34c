#include "guest/floor.hpp"

#include "base/cpu.hpp"

#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace vmrpc::bench {
namespace {

/// Far enough apart for no prefetcher to fetch one with the other. Each has one writer, and each release store pairs
/// with the acquire load of the side that spins on it: the orders that a call needs, too.
struct Lines {
    alignas(1024) std::atomic<std::uint64_t> request;
    alignas(1024) std::atomic<std::uint64_t> reply;
};

Lines& lines_of(std::byte* memory, Pause pause) {
    return reinterpret_cast<Lines*>(memory)[pause == Pause::kYes ? 1 : 0];
}

template <Pause kPause>
void await(const std::atomic<std::uint64_t>& word, std::uint64_t value) {
    while (word.load(std::memory_order_acquire) != value) {
        if constexpr (kPause == Pause::kYes) base::cpu_pause();
    }
}

template <Pause kPause>
[[noreturn]] void echo(Lines& lines) {
    for (std::uint64_t number = 1;; ++number) {
        await<kPause>(lines.request, number);
        lines.reply.store(number, std::memory_order_release);
    }
}

template <Pause kPause>
Figures call(const Effort& effort, Lines& lines) {
    std::uint64_t number = lines.request.load(std::memory_order_relaxed);  // of the last round
    return measure(effort, ::getpid(), [&](int calls) {
        for (int i = 0; i < calls; ++i) {
            lines.request.store(++number, std::memory_order_release);
            await<kPause>(lines.reply, number);
        }
    });
}

}  // namespace

void floor_echo(std::byte* memory, Pause pause) {
    Lines& lines = lines_of(memory, pause);
    pause == Pause::kYes ? echo<Pause::kYes>(lines) : echo<Pause::kNo>(lines);
}

Figures floor_call(const Effort& effort, std::byte* memory, Pause pause) {
    Lines& lines = lines_of(memory, pause);
    return pause == Pause::kYes ? call<Pause::kYes>(effort, lines) : call<Pause::kNo>(effort, lines);
}

}  // namespace vmrpc::bench
