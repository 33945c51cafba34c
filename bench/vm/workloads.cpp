#include "vm/workloads.hpp"

#include "support/ratios.hpp"
#include "vm/calls.hpp"
#include "vm/floor.hpp"
#include "vm/tcp.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace vmrpc::bench {
namespace {

int scaled(double scale, double count) {
    return std::max(2, static_cast<int>(scale * count));
}

Effort spinning(double scale) {
    return {.warm_up = scaled(scale, 10'000),
            .batches = scaled(scale, 2'000),
            .batch_calls = 32,
            .singles = scaled(scale, 10'000)};
}

/// Each call on its own, enough of them to have a p99.
Effort sleeping(double scale) {
    return {.warm_up = scaled(scale, 100), .singles = std::max(100, scaled(scale, 500))};
}

/// As many calls as carry about the same in each length.
Effort carrying(double scale, std::size_t length) {
    const double calls = std::clamp(50'000.0 / static_cast<double>(length), 2.0, 100.0);
    return {.warm_up = 1, .singles = scaled(scale, calls)};
}

using DataCall = Figures (*)(const Effort&, const std::string&, std::size_t);

void add_data(std::vector<GuestWorkload>& workloads, double scale, const char* kind, const char* what,
              double element_bytes, DataCall call) {
    for (const std::size_t length : kLengths)
        workloads.push_back(
            {fmt::format("{} {}", kind, length), fmt::format("{} x {}", what, length), Answerer::kSpins,
             carrying(scale, length),
             [=](const Effort& effort, const Places& places) { return call(effort, places.spins(), length); },
             element_bytes * static_cast<double>(length)});
}

GuestWorkload floor_workload(const char* name, const char* what, Pause pause, double scale) {
    return {name, what, pause == Pause::kYes ? Answerer::kFloorPause : Answerer::kFloorNoPause, spinning(scale),
            [=](const Effort& effort, const Places& places) { return floor_call(effort, places.floor(), pause); }};
}

}  // namespace

std::vector<GuestWorkload> guest_workloads(double scale) {
    std::vector<GuestWorkload> workloads{
        floor_workload(row::kFloorPause, "two cache lines, spinning", Pause::kYes, scale),
        floor_workload(row::kFloorNoPause, "the same", Pause::kNo, scale),
        {row::kSpin, "null call, both sides spin", Answerer::kSpins, spinning(scale),
         [](const Effort& effort, const Places& places) {
             return null_call(effort, places.spins(), VMRPC_SPIN_ALWAYS);
         }},
        {row::kRing, "null call, both sides sleep", Answerer::kSleeps, sleeping(scale),
         [](const Effort& effort, const Places& places) {
             return null_call(effort, places.sleeps(), VMRPC_SPIN_NEVER);
         }},
        {row::kTcp, "1 byte and back, TCP_NODELAY, virtio-net", Answerer::kTcp, sleeping(scale),
         [](const Effort& effort, const Places& places) {
             return tcp_call(effort, places.tcp_host(), places.tcp_port());
         }},
        {row::kConnect, "a connection made", Answerer::kSpins, Effort{.warm_up = 1, .batches = scaled(scale, 10)},
         [](const Effort& effort, const Places& places) { return connect_call(effort, places.spins()); }}};
    add_data(workloads, scale, kBytes, "char[10]", kStringBytes, bytes_call);
    add_data(workloads, scale, kFixed, "{int, int, double}", 2 * sizeof(int) + sizeof(double), fixed_call);
    add_data(workloads, scale, kVariable, "{char*, double}", kStringBytes + sizeof(double), variable_call);
    return workloads;
}

std::vector<GuestWatch> guest_watches(double scale) {
    const auto duration = std::chrono::milliseconds(std::max(1'000, scaled(scale, 10'000)));
    return {{"waiting", [=](const Places& places) { return waiting_for_reply(places.sleeps(), duration); }},
            {"connected", [=](const Places& places) { return without_calls(places.sleeps(), duration); }}};
}

}  // namespace vmrpc::bench
