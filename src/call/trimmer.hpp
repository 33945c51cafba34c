// The timer that gives a heap's empty memory back.
#pragma once

#include "heap/heap.hpp"
#include "notify/fork_guard.hpp"
#include "notify/housekeeper.hpp"

#include <cstdint>
#include <mutex>

namespace vmrpc::call {

/// Runs Heap::trim_on_timer() on the housekeeping thread when the heap asks for it. Threads: any.
class Trimmer {
  public:
    Trimmer() = default;
    Trimmer(const Trimmer&) = delete;
    Trimmer& operator=(const Trimmer&) = delete;
    ~Trimmer() { stop(); }

    /// The heap to trim; once, before it is used. It must live until stop().
    void attach(heap::Heap& heap) { heap_ = &heap; }
    /// Trims after so long. False if there can be no timer, or after stop(). May be called with the heap's mutex held.
    bool arm(std::int64_t delay_ns);
    /// From here on nothing is trimmed. Waits for what is running; must not be called with the heap's mutex held. Does
    /// nothing in a forked child.
    void stop() noexcept;

  private:
    void on_time();
    bool arm_locked(std::int64_t delay_ns);

    heap::Heap* heap_ = nullptr;
    const std::uint32_t generation_ = notify::process_generation();
    std::mutex mutex_;
    bool is_stopped_ = false;  // under mutex_, as the next one
    notify::Watch timer_;
};

}  // namespace vmrpc::call
