#include "report.hpp"

#include "text/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace demo {
namespace {

using Json = nlohmann::ordered_json;
using text::grouped;
using text::measured;
using text::Table;

double per_microsecond(std::uint64_t bytes, double us) {
    return us > 0 ? static_cast<double>(bytes) / us : 0;
}

std::string verdict(bool equal) {
    return equal ? "equal" : "DIFFERENT";
}

void add_files(Table& table, const FilesReport& files) {
    const double us = files.seconds * 1e6;
    table.head({"real files: SHA-256 and lines", "files", "MB", "lines", "µs per call", "MB/s", "copies", "check"});
    table.row({files.title, grouped(files.files), measured(static_cast<double>(files.bytes) / 1e6),
               grouped(files.lines), measured(us / static_cast<double>(std::max<std::uint64_t>(files.files, 1))),
               measured(per_microsecond(files.bytes, us)), grouped(files.implicit_copies),
               verdict(files.different.empty() && files.implicit_copies == 0)});
}

void add_kinds(Table& table, const std::vector<KindReport>& kinds) {
    table.head({"three kinds of data, summed", "LEN", "bytes", "built: µs", "MB/s", "in heap: µs", "MB/s", "check"});
    for (const KindReport& kind : kinds)
        table.row({kind.kind, grouped(kind.length), grouped(kind.bytes), measured(kind.built_us),
                   measured(per_microsecond(kind.bytes, kind.built_us)), measured(kind.in_heap_us),
                   measured(per_microsecond(kind.bytes, kind.in_heap_us)), verdict(kind.different == 0)});
}

void add_latency(Table& table, const LatencyReport& latency) {
    table.head({"round trips, alternating", "rounds", "p50 µs", "p99 µs", "p50 ratio"});
    const auto row = [&](const std::string& name, const Percentiles& times) {
        table.row({name, grouped(latency.rounds), measured(times.p50_ns / 1e3), measured(times.p99_ns / 1e3),
                   fmt::format("{:.1f}", times.p50_ns / latency.call.p50_ns)});
    };
    row("null call", latency.call);
    if (!latency.echo_kind.empty()) row("1-byte echo, " + latency.echo_kind, latency.echo);
}

void add_combinations(Table& table, const std::vector<CombinationReport>& combinations) {
    table.head(
        {"null call, other combinations too", "checked", "p50 µs", "p99 µs", "connect: ms", "interrupts", "", "check"});
    for (const CombinationReport& one : combinations) {
        const std::string name = fmt::format("memory={} ring={}", one.memory, one.ring);
        if (!one.failure.empty())
            table.row({name, "", "", "", "", "", "", "FAILED"});
        else
            table.row({name, grouped(one.calls), measured(one.call.p50_ns / 1e3), measured(one.call.p99_ns / 1e3),
                       measured(one.connect_ms), one.interrupted ? "yes" : "no", "", verdict(one.equal())});
    }
}

Json to_json(const FilesReport& files) {
    return {{"title", files.title},     {"files", files.files},         {"skipped", files.skipped},
            {"bytes", files.bytes},     {"lines", files.lines},         {"implicit_copies", files.implicit_copies},
            {"seconds", files.seconds}, {"different", files.different}, {"equal", files.different.empty()}};
}

Json to_json(const KindReport& kind) {
    return {{"kind", kind.kind},           {"length", kind.length},     {"bytes", kind.bytes},
            {"calls", kind.calls},         {"built_us", kind.built_us}, {"in_heap_us", kind.in_heap_us},
            {"equal", kind.different == 0}};
}

Json to_json(const LatencyReport& latency) {
    Json json{{"rounds", latency.rounds}, {"call_ns", latency.call.p50_ns}, {"call_ns_p99", latency.call.p99_ns}};
    if (latency.echo_kind.empty()) return json;
    json["echo"] = latency.echo_kind;
    json["echo_ns"] = latency.echo.p50_ns;
    json["echo_ns_p99"] = latency.echo.p99_ns;
    json["echo_to_call"] = latency.echo.p50_ns / latency.call.p50_ns;
    return json;
}

Json to_json(const CombinationReport& one) {
    Json json{{"address", one.address}, {"memory", one.memory}, {"ring", one.ring}};
    if (one.failure.empty()) {
        json["interrupts"] = one.interrupted;
        json["connect_ms"] = one.connect_ms;
        json["call_ns"] = one.call.p50_ns;
        json["call_ns_p99"] = one.call.p99_ns;
        json["calls"] = one.calls;
        json["implicit_copies"] = one.implicit_copies;
    } else {
        json["failure"] = one.failure;
    }
    json["equal"] = one.equal();
    return json;
}

}  // namespace

bool Report::equal() const {
    return files.different.empty() && implicit_copies == 0 &&
           std::all_of(kinds.begin(), kinds.end(), [](const KindReport& kind) { return kind.different == 0; }) &&
           std::all_of(combinations.begin(), combinations.end(),
                       [](const CombinationReport& one) { return one.equal(); });
}

std::string Report::who_and_where() const {
    std::string text =
        guest.empty()
            ? fmt::format("Client and server at {}, trusting each other; ", address)
            : fmt::format("Client in a guest (Linux {}), server on its host, trusting each other,\ncalled through {}; ",
                          kernel, address);
    text += offset == 0
                ? "the heap is at the same address in both.\n"
                : fmt::format("the heap is {:+} bytes away in the server:\npointers in data are translated there.\n",
                              -offset);
    if (!guest.empty()) text += fmt::format("The guest is run by {}.\n", guest);
    return text;
}

std::string Report::table() const {
    Table table;
    add_files(table, files);
    add_kinds(table, kinds);
    add_latency(table, latency);
    if (!combinations.empty()) add_combinations(table, combinations);
    std::string text = who_and_where() + "\n" + table.text();
    text += "\nbuilt: built in the heap for this call, and freed after it; in heap: was there before. ";
    text += fmt::format("Implicit copies in all: {}.\n", implicit_copies);
    if (files.skipped != 0) text += fmt::format("{} files could not be read and were skipped.\n", files.skipped);
    for (const CombinationReport& one : combinations)
        if (!one.failure.empty()) text += fmt::format("FAILED: {}\n", one.failure);
    for (const std::string& path : files.different) text += fmt::format("DIFFERENT: {}\n", path);
    text += equal() ? "Everything is equal.\n" : "NOT everything is as it should be.\n";
    return text;
}

std::string Report::json() const {
    Json json{{"address", address},     {"vmrpc_offset", offset},      {"files", to_json(files)},
              {"kinds", Json::array()}, {"latency", to_json(latency)}, {"implicit_copies", implicit_copies},
              {"equal", equal()}};
    if (!guest.empty()) json["guest"] = {{"kernel", kernel}, {"run_by", guest}};
    for (const CombinationReport& one : combinations) json["combinations"].push_back(to_json(one));
    for (const KindReport& kind : kinds) json["kinds"].push_back(to_json(kind));
    return json.dump(2) + "\n";
}

}  // namespace demo
