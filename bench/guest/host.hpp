// The host's part: the guest, those that answer it, and the rounds.
#pragma once

#include "guest/workloads.hpp"
#include "support/pin.hpp"
#include "support/rounds.hpp"

#include <cstdint>
#include <string>

namespace vmrpc::bench {

struct GuestRounds {
    RoundsResult measured;    // one row for each of guest_workloads()
    std::string accelerator;  // what ran the guest, and why
    bool emulated = false;
};

/// Boots a guest and measures every workload `rounds` times, every other round in reverse order. QEMU runs on the
/// caller's CPU, what answers on the server's. What was measured before something fails is kept.
GuestRounds run_guest_rounds(const CpuPair& cpus, double scale, int rounds, std::int64_t until_ns);

}  // namespace vmrpc::bench
