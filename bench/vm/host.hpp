// The host's part: a guest for each combination, those that answer it, and the rounds.
#pragma once

#include "support/pin.hpp"
#include "support/rounds.hpp"
#include "vm/combinations.hpp"
#include "vm/network.hpp"
#include "vm/workloads.hpp"

#include <cstdint>
#include <map>
#include <string>

namespace vmrpc::bench {

/// What was measured in one guest.
struct GuestRounds {
    RoundsResult measured;                // one row for each of guest_workloads()
    std::map<std::string, IdleCpu> idle;  // by the key of guest_watches()
    std::string accelerator;              // what ran the guest, and why
    bool has_vfio = false;                // by which the guest is interrupted
    bool was_stopped = false;             // by a signal, or as the time was over
};

/// As if everything were to come still.
GuestRounds nothing_measured();

struct RunEffort {
    CpuPair cpus;
    double scale = 1;
    int rounds = 0;
    std::int64_t until_ns = 0;
};

/// Boots a guest and measures every workload in each round, every other round in reverse order. QEMU runs on the
/// caller's CPU, what answers on the server's. What was measured before something fails is kept.
GuestRounds run_guest_rounds(const Combination& combination, const Network& network, const RunEffort& effort);

}  // namespace vmrpc::bench
