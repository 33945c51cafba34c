// Looks again and again at what nobody rings for: often while something happens, rarely when nothing does.
#pragma once

#include "base/result.hpp"
#include "notify/housekeeper.hpp"

#include <cstdint>
#include <functional>

namespace vmrpc::transport::vm {

class Looker {
  public:
    /// The longest time between two looks. Chosen by `look`, each time anew.
    enum class Pace : std::int64_t {
        kBusy = 50'000,          // ns; something was found
        kWaiting = 4'000'000,    // somebody cannot ring
        kUnlikely = 20'000'000,  // everybody could ring
    };

    Looker() = default;
    /// Calls `look` on the housekeeping thread, from now on until destroyed; it says how soon to look again at the
    /// latest. Between two finds the time doubles. Errors: VMRPC_OUT_OF_RESOURCES.
    base::Status start(std::function<Pace()> look);
    void stop() { watch_.reset(); }

  private:
    void on_timer();
    void set_timer(std::int64_t delay_ns) const;

    std::function<Pace()> look_;
    notify::GuardedFd timer_;
    std::int64_t delay_ns_ = 0;  // housekeeping thread
    notify::Watch watch_;
};

}  // namespace vmrpc::transport::vm
