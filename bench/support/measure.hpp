// How calls are timed.
#pragma once

#include "base/clock.hpp"
#include "support/child.hpp"
#include "support/stats.hpp"

#include <sys/types.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace vmrpc::bench {

/// How much of a workload one round measures: fixed counts, so that both sides of a ratio do the same.
struct Effort {
    int warm_up = 0;                    // calls before; of measure_apart(), batches
    int batches = 0;                    // timed as a whole; 0: p50 is that of single calls
    int batch_calls = 1;                // in each of them
    int singles = 0;                    // calls timed one by one
    std::chrono::microseconds idle{0};  // before each single call
};

/// Measures `run`, which makes as many calls as it is told, in this process and in `server`.
///
/// A call takes as little as 100 ns where reading the clock takes 25 to 40: read before and after each call, it would
/// be a good part of what is measured, and since it would be added to both sides of a ratio it would flatter us. So the
/// median comes from batches, timed as a whole and divided by their number of calls, which are short enough for an
/// interrupt to spoil few of them. Averages hide tails: p99 and beyond come from a second pass, each call timed alone,
/// with one clock reading in each. Calls that sleep take so long that they are timed alone only. What is compared is
/// measured by this one function.
template <class Run>
Figures measure(const Effort& effort, pid_t server, Run&& run) {
    const auto timed = [&](int calls) {
        const std::int64_t start_ns = base::now_ns();
        run(calls);
        return static_cast<double>(base::now_ns() - start_ns) / calls;
    };
    const auto cpu_ns = [&] { return cpu_time_ns(::getpid()) + cpu_time_ns(server); };
    std::vector<double> batches(static_cast<std::size_t>(effort.batches));
    std::vector<double> singles(static_cast<std::size_t>(effort.singles));
    run(effort.warm_up);
    const std::int64_t cpu_before_ns = cpu_ns();
    for (double& sample : batches) sample = timed(effort.batch_calls);
    for (double& sample : singles) {
        if (effort.idle.count() != 0) std::this_thread::sleep_for(effort.idle);
        sample = timed(1);
    }
    const auto burned_ns = static_cast<double>(cpu_ns() - cpu_before_ns);
    Figures figures = summarize(singles);
    if (effort.batches != 0) figures.p50_ns = median(batches);
    figures.calls = static_cast<std::uint64_t>(effort.batches) * static_cast<std::uint64_t>(effort.batch_calls) +
                    static_cast<std::uint64_t>(effort.singles);
    figures.cpu_ns = burned_ns / static_cast<double>(figures.calls);
    return figures;
}

/// The same for what needs preparing each time, which is not timed: `prepare`, then `run`, each with the number of
/// calls, for each batch. There is no second pass, and CPU time is left out: it would be that of `prepare`, too.
template <class Prepare, class Run>
Figures measure_apart(const Effort& effort, Prepare&& prepare, Run&& run) {
    std::vector<double> samples;
    for (int i = -effort.warm_up; i < effort.batches; ++i) {
        prepare(effort.batch_calls);
        const std::int64_t start_ns = base::now_ns();
        run(effort.batch_calls);
        const auto took_ns = static_cast<double>(base::now_ns() - start_ns);
        if (i >= 0) samples.push_back(took_ns / effort.batch_calls);
    }
    Figures figures = summarize(samples);
    figures.calls = samples.size() * static_cast<std::uint64_t>(effort.batch_calls);
    return figures;
}

}  // namespace vmrpc::bench
