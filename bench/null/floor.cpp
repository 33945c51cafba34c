#include "null/floor.hpp"

#include "base/cpu.hpp"
#include "support/shared_page.hpp"

#include <atomic>
#include <cstdint>
#include <memory>

namespace vmrpc::bench {
namespace {

/// Far enough apart for no prefetcher to fetch one with the other. Each has one writer, and each release store pairs
/// with the acquire load of the side that spins on it: the orders that a call needs, too.
struct Lines {
    alignas(1024) std::atomic<std::uint64_t> request;
    alignas(1024) std::atomic<std::uint64_t> reply;
};

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
Sides make_sides() {
    auto page = std::make_shared<SharedPage>();
    return {.serve =
                [page](const Report& report) {
                    say_ready(report);
                    echo<kPause>(page->as<Lines>());
                },
            .call =
                [page](const Effort& effort, pid_t server) {
                    auto& lines = page->as<Lines>();
                    std::uint64_t number = 0;
                    return measure(effort, server, [&](int calls) {
                        for (int i = 0; i < calls; ++i) {
                            lines.request.store(++number, std::memory_order_release);
                            await<kPause>(lines.reply, number);
                        }
                    });
                }};
}

}  // namespace

Sides floor_sides(Pause pause) {
    return pause == Pause::kYes ? make_sides<Pause::kYes>() : make_sides<Pause::kNo>();
}

}  // namespace vmrpc::bench
