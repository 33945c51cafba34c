// The values of a client's Rung word.
//
// The server stores 1, 2, 3, … to ring. The client itself stores values with the top bit set, to end its own wait: a
// futex sleeps only while the word is what was seen, so whatever changes the word ends also a wait that has looked and
// is about to sleep, which a wake-up alone would miss. So this word has two writers, who only store, and never the same
// value twice; the server never reads it. A store that replaces the other writer's is no loss: the word has changed.
#pragma once

#include "layout/region.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace vmrpc::transport {

inline constexpr std::uint32_t kInterruptBit = 0x8000'0000;

/// One of the two writers. Threads: any.
class RungWriter {
  public:
    explicit RungWriter(std::uint32_t own_bit) : own_bit_(own_bit) {}

    /// Stores a new value and wakes the one thread that may sleep on it. Not more: a hostile client could have put
    /// thousands to sleep there, each of them the server's time.
    void write(layout::Rung& rung) noexcept {
        store(rung);
        ::syscall(SYS_futex, rung.count.address(), FUTEX_WAKE, 1, nullptr, nullptr, 0);
    }

    /// Stores a new value, for a waiter that looks at the word from time to time.
    void store(layout::Rung& rung) noexcept {
        // relaxed: only its values count. After 2^31 rings one comes again; no waiter sleeps that long over it.
        const std::uint32_t count = last_.fetch_add(1, std::memory_order_relaxed) + 1;
        // What the caller published comes before the word in the eyes of a waiter that sees any later value of the
        // word, the other writer's or another thread's too: with its own fence after loading the word.
        std::atomic_thread_fence(std::memory_order_seq_cst);
        // release: pairs with the waiter's acquire load of the word.
        rung.count.store_release((count & ~kInterruptBit) | own_bit_);
    }

  private:
    const std::uint32_t own_bit_;
    std::atomic<std::uint32_t> last_{0};
};

}  // namespace vmrpc::transport
