#include "scale/workloads.hpp"

#include "scale/busy.hpp"
#include "scale/connections.hpp"
#include "scale/late.hpp"
#include "support/futex_sides.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace vmrpc::bench {
namespace {

using std::chrono_literals::operator""ms;

constexpr int kFlooders = 8;

int scaled(double scale, int count) {
    return std::max(2, static_cast<int>(scale * count));
}

void add_hot(std::vector<Workload>& all, ScratchFolder& folder, double scale) {
    const Effort effort{.warm_up = scaled(scale, 10'000),
                        .batches = scaled(scale, 1'000),
                        .batch_calls = 32,
                        .singles = scaled(scale, 10'000)};
    for (const int count : kHotCounts)
        all.push_back({hot_row(count), fmt::format("calls on one of {} connections, the others idle", count), effort,
                       [&folder, count] { return hot_sides(folder, count); }});
    all.push_back(
        {row::kIdle, "CPU time of the server in each second", {.singles = scaled(scale, 5), .idle = 200ms}, [&folder] {
             return idle_sides(folder, 1'000);
         }});
}

void add_busy(std::vector<Workload>& all, ScratchFolder& folder, double scale) {
    for (const int count : kBusyCounts)
        all.push_back({busy_row(count),
                       fmt::format("time for each call, {} clients with a thread each", count),
                       {.singles = scaled(scale, 5), .idle = 50ms},
                       [&folder, count] { return busy_sides(folder, count); }});
    const Effort effort{.warm_up = 100, .singles = scaled(scale, 2'000)};
    all.push_back({row::kAlone, "one client's calls", effort, [&folder] { return flooded_sides(folder, 0); }});
    all.push_back({row::kFlooded, fmt::format("the same, while another client calls from {} threads", kFlooders),
                   effort, [&folder] { return flooded_sides(folder, kFlooders); }});
}

void add_after_idle(std::vector<Workload>& all, ScratchFolder& folder, double scale) {
    const auto pair = [&](const char* call, const char* futex, const char* what, const Effort& effort) {
        all.push_back({call, fmt::format("a call, {} after the last", what), effort,
                       [&folder] { return after_idle_sides(folder); }});
        all.push_back(
            {futex, fmt::format("two futexes, {} after the last", what), effort, [] { return futex_sides(); }});
    };
    pair(row::kCallAfter1Ms, row::kFutexAfter1Ms, "1 ms", {.warm_up = 10, .singles = scaled(scale, 60), .idle = 1ms});
    pair(row::kCallAfter100Ms, row::kFutexAfter100Ms, "100 ms",
         {.warm_up = 10, .singles = scaled(scale, 3), .idle = 100ms});
}

}  // namespace

std::string hot_row(int count) {
    return fmt::format("hot of {}", count);
}
std::string busy_row(int count) {
    return fmt::format("busy {}", count);
}

std::vector<Workload> scale_workloads(ScratchFolder& folder, double scale) {
    std::vector<Workload> all;
    add_hot(all, folder, scale);
    add_busy(all, folder, scale);
    add_after_idle(all, folder, scale);
    all.push_back({row::kLate,
                   "how far past its limit of 200 us a call returns whose function takes 10 ms",
                   {.singles = scaled(scale, 100)},
                   [&folder] { return late_sides(folder); }});
    return all;
}

}  // namespace vmrpc::bench
