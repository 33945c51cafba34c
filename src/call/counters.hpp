// What a server counts, for those who watch it. Private memory, on lines that no hot path shares with another thread.
#pragma once

#include "base/cpu.hpp"
#include "base/histogram.hpp"

#include <atomic>
#include <cstdint>

namespace vmrpc::call {

/// So many calls of each function are timed, and then one in kCallsPerTimed: two looks at the clock take as long as a
/// short call.
inline constexpr std::uint64_t kFirstTimed = 64;
inline constexpr std::uint64_t kCallsPerTimed = 512;

/// Grows; orders nothing. Read by any thread. Two words: one thread may add to it without a locked instruction while
/// others add too.
class Counter {
  public:
    /// By one thread, always the same: no locked instruction.
    void add_alone(std::uint64_t more = 1) {
        alone_.store(alone_.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
    }
    /// By any thread. Nothing costs nothing.
    void add(std::uint64_t more = 1) {
        if (more != 0) shared_.fetch_add(more, std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t value() const {
        return alone_.load(std::memory_order_relaxed) + shared_.load(std::memory_order_relaxed);
    }

  private:
    std::atomic<std::uint64_t> alone_{0};
    std::atomic<std::uint64_t> shared_{0};
};

/// Of one function of a server.
struct alignas(base::kLineBytes) FunctionCounters {
    Counter calls;
    Counter errors;           // answered with anything but VMRPC_OK
    Counter deadline_misses;  // among them: not run, or not ended, when the caller's time limit had passed
    Counter span_bytes;       // that spans of its calls had; frames are known from `calls`
    Counter copies;  // spans that could not be used in place: snapshots, copies for clients that are not trusted
    base::Histogram duration_ns;

    /// Whether the next call is to be timed.
    [[nodiscard]] bool is_timed() const {
        const std::uint64_t before = calls.value();
        return before < kFirstTimed || before % kCallsPerTimed == 0;
    }
};

/// Of one connection of a server.
struct alignas(base::kLineBytes) ConnectionCounters {
    Counter calls;
    Counter errors;
    Counter bytes;  // of frames and spans
    Counter copies;
    Counter rings;  // system calls made to wake the client; other replies found it awake
};

}  // namespace vmrpc::call
