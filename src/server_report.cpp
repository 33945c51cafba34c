#include "server_report.hpp"

#include "report_parts.hpp"
#include "server.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>

namespace vmrpc {
namespace {

Json of_function(const call::FunctionTable::Entry& entry) {
    const call::FunctionCounters& counters = *entry.counters;
    const std::uint64_t calls = counters.calls.value();
    const std::uint64_t frame_bytes = entry.function->request_bytes() + entry.function->result_bytes();
    return {{"name", entry.function->name()},
            {"signature", entry.function->signature()},
            {"index", entry.index},
            {"calls", calls},
            {"errors", counters.errors.value()},
            {"deadline_misses", counters.deadline_misses.value()},
            {"bytes", calls * frame_bytes + counters.span_bytes.value()},
            {"copies", counters.copies.value()},
            {"duration_ns", of_durations(counters.duration_ns)}};
}

Json of_connection(call::ServerConnection& connection) {
    const vmrpc_caller& caller = connection.caller();
    const call::ConnectionCounters& counters = connection.counters();
    const heap::HeapStats heap = connection.heap().stats();
    const std::uint64_t calls = counters.calls.value();
    const std::uint64_t rings = counters.rings.value();
    return {{"number", caller.connection_number},
            {"pid", caller.pid},
            {"uid", caller.uid},
            {"vm", caller.vm},
            {"trusted", caller.trusted != 0},
            {"calls", calls},
            {"errors", counters.errors.value()},
            {"bytes", counters.bytes.value()},
            {"copies", counters.copies.value()},
            {"rings", rings},
            {"rings_saved", calls - std::min(calls, rings)},  // a ring may come before its call is counted
            {"live_blocks", heap.own.live_blocks},
            {"live_bytes", heap.own.live_bytes},
            {"committed_bytes", heap.committed_bytes}};
}

}  // namespace

void Roster::add(call::ServerConnection& connection) {
    const std::scoped_lock lock(mutex_);
    by_number_[connection.caller().connection_number] = &connection;
}

void Roster::remove(call::ServerConnection& connection) {
    const std::scoped_lock lock(mutex_);
    by_number_.erase(connection.caller().connection_number);
}

std::string Roster::report(const ServerFacts& facts, const call::FunctionTable& functions) const {
    Json report{
        {"address", facts.address},     {"pid", ::getpid()},    {"up_s", seconds_since(facts.started_ns)},
        {"sleeps", facts.sleeps},       {"spins", facts.spins}, {"functions", Json::array()},
        {"connections", Json::array()},
    };
    for (const call::FunctionTable::Entry& entry : functions.of_user())
        report["functions"].push_back(of_function(entry));
    const std::scoped_lock lock(mutex_);
    report["connection_count"] = by_number_.size();
    for (const auto& [number, connection] : by_number_) report["connections"].push_back(of_connection(*connection));
    return text_of(report);
}

vmrpc_status serve_report(void* user, void* const* /*arguments*/, void* result, char* error_text,
                          std::size_t error_bytes) {
    const auto fail = [&](vmrpc_status status, std::string_view text) {
        error_text[text.copy(error_text, error_bytes - 1)] = '\0';
        return status;
    };
    const vmrpc_caller& caller = call::ServerConnection::current()->caller();
    if (caller.vm != 0 || (caller.uid != 0 && caller.uid != ::geteuid()))
        return fail(VMRPC_NOT_PERMITTED, "only the server's own user, and root, of its machine may see its report");
    const std::string report = static_cast<const ServerLoop*>(user)->report();
    void* const block = vmrpc_malloc(nullptr, report.size(), nullptr);
    if (block == nullptr) return fail(VMRPC_LAST_STATUS(), VMRPC_LAST_ERROR_TEXT());
    const vmrpc_impl_span returned{block, report.size()};
    std::memcpy(block, report.data(), report.size());
    std::memcpy(result, &returned, sizeof returned);
    return VMRPC_OK;
}

}  // namespace vmrpc
