#include "support/futex_sides.hpp"

#include "support/shared_page.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <memory>

namespace vmrpc::bench {
namespace {

/// Each has one writer; release and acquire pair as in the floor.
struct Words {
    alignas(1024) std::atomic<std::uint32_t> request;
    alignas(1024) std::atomic<std::uint32_t> reply;
};

void futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value) {
    ::syscall(SYS_futex, &word, operation, value, nullptr, nullptr, 0);
}

void post(std::atomic<std::uint32_t>& word, std::uint32_t value) {
    word.store(value, std::memory_order_release);
    futex(word, FUTEX_WAKE, 1);
}

void await(std::atomic<std::uint32_t>& word, std::uint32_t value) {
    while (word.load(std::memory_order_acquire) != value) futex(word, FUTEX_WAIT, value - 1);
}

[[noreturn]] void echo(Words& words) {
    for (std::uint32_t number = 1;; ++number) {
        await(words.request, number);
        post(words.reply, number);
    }
}

}  // namespace

Sides futex_sides() {
    auto page = std::make_shared<SharedPage>();
    return {.serve =
                [page](const Report& report) {
                    say_ready(report);
                    echo(page->as<Words>());
                },
            .call =
                [page](const Effort& effort, pid_t server) {
                    auto& words = page->as<Words>();
                    std::uint32_t number = 0;
                    return measure(effort, server, [&](int calls) {
                        for (int i = 0; i < calls; ++i) {
                            post(words.request, ++number);
                            await(words.reply, number);
                        }
                    });
                }};
}

}  // namespace vmrpc::bench
