// A workload: two processes, one that calls and one that serves.
#pragma once

#include "support/child.hpp"
#include "support/measure.hpp"
#include "support/pin.hpp"
#include "support/stats.hpp"

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>

namespace vmrpc::bench {

/// The two sides of one measurement. Each runs in a child of its own.
struct Sides {
    /// Makes everything ready, calls say_ready(), and serves until the process is ended.
    std::function<void(const Report&)> serve;
    std::function<Figures(const Effort&, pid_t server)> call;
};

/// What `serve` says when calls may begin.
void say_ready(const Report& report);

struct Workload {
    std::string name;  // of its row
    std::string what;
    Effort effort;
    /// Before each round, in the parent: makes what both sides share.
    std::function<Sides()> prepare = {};
    std::string why_not = {};  // why it cannot be measured here, if that is known before
};

/// Measures a workload once. Throws Stopped on a signal and at `until_ns`, std::runtime_error if a side fails.
Figures run_pair(const Workload& workload, const CpuPair& cpus, std::int64_t until_ns);

}  // namespace vmrpc::bench
