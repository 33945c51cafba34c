#include "guest/workloads.hpp"

#include "guest/calls.hpp"
#include "guest/floor.hpp"
#include "guest/tcp.hpp"
#include "support/ratios.hpp"

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
            {data_row(kind, length), fmt::format("{} x {}", what, length), Answerer::kServer, carrying(scale, length),
             [=](const Effort& effort, const Places& places) { return call(effort, places.address, length); },
             element_bytes * static_cast<double>(length)});
}

GuestWorkload floor_workload(const char* name, const char* what, Pause pause, double scale) {
    return {name, what, pause == Pause::kYes ? Answerer::kFloorPause : Answerer::kFloorNoPause, spinning(scale),
            [=](const Effort& effort, const Places& places) { return floor_call(effort, places.floor, pause); }};
}

}  // namespace

std::string data_row(const char* kind, std::size_t length) {
    return fmt::format("{} {}", kind, length);
}

std::vector<GuestWorkload> guest_workloads(double scale) {
    std::vector<GuestWorkload> workloads{
        floor_workload(row::kFloorPause, "two cache lines, spinning", Pause::kYes, scale),
        floor_workload(row::kFloorNoPause, "the same", Pause::kNo, scale),
        {row::kSpin, "null call, both sides spin", Answerer::kServer, spinning(scale),
         [](const Effort& effort, const Places& places) { return null_call(effort, places.address); }},
        {row::kTcp, "1 byte and back, TCP_NODELAY, virtio-net", Answerer::kTcp,
         Effort{.warm_up = scaled(scale, 100), .singles = scaled(scale, 500)},
         [](const Effort& effort, const Places& places) { return tcp_call(effort, places.tcp, places.tcp_port); }},
        {row::kConnect, "a connection made", Answerer::kServer, Effort{.warm_up = 1, .batches = scaled(scale, 10)},
         [](const Effort& effort, const Places& places) { return connect_call(effort, places.address); }}};
    add_data(workloads, scale, kBytes, "char[10]", kStringBytes, bytes_call);
    add_data(workloads, scale, kFixed, "{int, int, double}", 2 * sizeof(int) + sizeof(double), fixed_call);
    add_data(workloads, scale, kVariable, "{char*, double}", kStringBytes + sizeof(double), variable_call);
    return workloads;
}

}  // namespace vmrpc::bench
