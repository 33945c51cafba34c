#include "call/trimmer.hpp"

#include <utility>

namespace vmrpc::call {

bool Trimmer::arm(std::int64_t delay_ns) {
    // Until the new timer is in its place, so that it does not put the next one there before.
    const std::lock_guard lock(mutex_);
    return arm_locked(delay_ns);
}

/// The timer before this one has done its work, and at most has yet to return: replacing it waits for no lock.
bool Trimmer::arm_locked(std::int64_t delay_ns) {
    if (is_stopped_) return false;
    auto timer = notify::after(delay_ns, [this] { on_time(); });
    if (!timer) return false;
    timer_ = std::move(*timer);
    return true;
}

void Trimmer::on_time() {
    const auto again_in_ns = heap_->trim_on_timer();
    if (!again_in_ns) return;
    // The housekeeper is running, so that a timer costs nothing that could be short.
    const std::lock_guard lock(mutex_);
    arm_locked(*again_in_ns);
}

void Trimmer::stop() noexcept {
    if (generation_ != notify::process_generation()) return;
    notify::Watch last;
    {
        const std::lock_guard lock(mutex_);
        is_stopped_ = true;
        last = std::move(timer_);
    }
    last.reset();  // without the lock: the callback may be waiting for it
}

}  // namespace vmrpc::call
