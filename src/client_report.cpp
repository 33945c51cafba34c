#include "client_report.hpp"

#include "report_parts.hpp"

#include <unistd.h>

#include <algorithm>

namespace vmrpc {
namespace {

Json of_function(const call::ClientFunction& function) {
    return {{"name", function.function->name()},
            {"signature", function.function->signature()},
            {"index", function.index},
            {"errors", function.errors.value()},
            {"deadline_misses", function.deadline_misses.value()},
            {"duration_ns", of_durations(function.duration_ns)}};
}

std::uint64_t read(const std::atomic<std::uint64_t>& counter) {
    return counter.load(std::memory_order_relaxed);
}

}  // namespace

std::string report_of(call::ClientConnection& client) {
    client.sweep_async();
    const call::ClientStats& stats = client.stats();
    const heap::HeapStats heap = client.heap().stats();
    const std::uint64_t calls = client.calls();
    const std::uint64_t rings = read(stats.rings);
    Json report{
        {"address", client.address()},
        {"pid", ::getpid()},
        {"up_s", seconds_since(client.connected_ns())},
        {"number", client.plan().connection},
        {"calls", calls},
        {"calls_abandoned", client.abandoned()},
        {"one_way_errors", client.one_way_errors()},
        {"copies", read(stats.implicit_copies)},
        {"copied_bytes", read(stats.implicit_copy_bytes)},
        {"spins", read(stats.spins)},
        {"sleeps", read(stats.sleeps)},
        {"rings", rings},
        {"rings_saved", calls - std::min(calls, rings)},
        {"live_blocks", heap.own.live_blocks},
        {"live_bytes", heap.own.live_bytes},
        {"committed_bytes", heap.committed_bytes},
        {"functions", Json::array()},
    };
    client.functions().for_each(
        [&](const call::ClientFunction& function) { report["functions"].push_back(of_function(function)); });
    return text_of(report);
}

}  // namespace vmrpc
