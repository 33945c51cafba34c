#include "null/workloads.hpp"

#include "null/calls.hpp"
#include "support/floor_sides.hpp"
#include "support/futex_sides.hpp"
#include "support/pin.hpp"
#include "support/ratios.hpp"

#include <vmrpc/vmrpc.h>

#include <algorithm>

namespace vmrpc::bench {
namespace {

using std::chrono_literals::operator""ms;

int scaled(double scale, int count) {
    return std::max(2, static_cast<int>(scale * count));
}

Effort spinning(double scale, bool one_cpu) {
    if (one_cpu) return {.warm_up = 4, .batches = 8, .batch_calls = 2, .singles = 8};
    return {.warm_up = scaled(scale, 10'000),
            .batches = scaled(scale, 2'000),
            .batch_calls = 32,
            .singles = scaled(scale, 20'000)};
}

/// Calls that overlap: only many of them have a time.
Effort flowing(double scale, bool one_cpu) {
    if (one_cpu) return {.warm_up = 4, .batches = 8, .batch_calls = 2};
    return {.warm_up = scaled(scale, 20'000), .batches = scaled(scale, 400), .batch_calls = 512};
}

/// Where they have a CPU each, and the server too: what takes turns on one measures those.
Workload two_threads(ScratchFolder& folder, const Effort& effort) {
    Workload made{row::kTwoThreads, "two threads of one client, both spinning", effort,
                  [&folder] { return two_thread_sides(folder); }};
    if (allowed_cpu_count() < 3) made.why_not = "two threads and their server take three CPUs; there are fewer";
    return made;
}

Effort blocking(double scale) {
    return {.warm_up = scaled(scale, 100), .singles = scaled(scale, 700)};
}

Effort idling(std::chrono::milliseconds idle, int calls) {
    return {.warm_up = 100, .singles = calls, .idle = idle};
}

}  // namespace

std::vector<Workload> null_workloads(ScratchFolder& folder, double scale, bool one_cpu) {
    const Effort spin = spinning(scale, one_cpu);
    const Effort flow = flowing(scale, one_cpu);
    const Effort block = blocking(scale);
    const auto calls = [&folder](Api api, std::int64_t spin_ns) {
        return [&folder, api, spin_ns] { return call_sides(folder, api, spin_ns); };
    };
    const auto adaptive = calls(Api::kCpp, VMRPC_SPIN_ADAPTIVE);
    return {
        {row::kFloorPause, "two cache lines, spinning", spin, [] { return floor_sides(Pause::kYes); }},
        {row::kFloorNoPause, "the same", spin, [] { return floor_sides(Pause::kNo); }},
        {row::kCall, "both sides spin", spin, calls(Api::kCpp, VMRPC_SPIN_ALWAYS)},
        {row::kCCall, "both sides spin", spin, calls(Api::kC, VMRPC_SPIN_ALWAYS)},
        {row::kPipelined16, "16 calls in flight from one thread", flow,
         [&folder] { return pipelined_sides(folder, 16); }},
        {row::kPipelined64, "64 calls in flight, on four lanes", flow,
         [&folder] { return pipelined_sides(folder, 64); }},
        two_threads(folder, spin),
        {row::kAdaptive, "adaptive spin, call after call", spin, adaptive},
        {row::kIdle1Ms, "adaptive spin, 1 ms between calls", idling(1ms, scaled(scale, 60)), adaptive},
        {row::kIdle100Ms, "adaptive spin, 100 ms between calls", idling(100ms, scaled(scale, 2)), adaptive},
        {row::kFutex, "two futexes, always asleep", block, [] { return futex_sides(); }},
        {row::kBlockedCall, "C++, both sides never spin", block, calls(Api::kCpp, VMRPC_SPIN_NEVER)},
    };
}

}  // namespace vmrpc::bench
