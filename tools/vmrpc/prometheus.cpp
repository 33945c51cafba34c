#include "vmrpc/report.hpp"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace tool {
namespace {

struct Metric {
    const char* key;   // in the report
    const char* name;  // behind "vmrpc_function_", "vmrpc_connection_"
    const char* type;
    const char* help;
};

constexpr std::array kOfFunctions{
    Metric{"calls", "calls_total", "counter", "Calls answered"},
    Metric{"errors", "errors_total", "counter", "Calls answered with an error"},
    Metric{"deadline_misses", "deadline_misses_total", "counter", "Calls not done when their time limit passed"},
    Metric{"bytes", "bytes_total", "counter", "Bytes of frames and spans"},
    Metric{"copies", "copies_total", "counter", "Spans that were copied because the client is not trusted"},
};
constexpr std::array kOfConnections{
    Metric{"calls", "calls_total", "counter", "Calls answered"},
    Metric{"errors", "errors_total", "counter", "Calls answered with an error"},
    Metric{"bytes", "bytes_total", "counter", "Bytes of frames and spans"},
    Metric{"rings", "rings_total", "counter", "System calls made to wake the client"},
    Metric{"live_bytes", "live_bytes", "gauge", "Bytes of live blocks in the server's half of the heap"},
    Metric{"committed_bytes", "committed_bytes", "gauge", "Memory set aside for the server's half of the heap"},
};

std::string escaped(std::string_view text) {
    std::string safe;
    for (const char c : text) {
        if (c == '\\' || c == '"') safe += '\\';
        if (c == '\n')
            safe += "\\n";
        else
            safe += c;
    }
    return safe;
}

void describe(std::string& out, const std::string& name, const char* type, const char* help) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

template <class Metrics, class Label>
void put(std::string& out, const char* prefix, const Metrics& metrics, const Report& list, Label&& label) {
    for (const Metric& metric : metrics) {
        const std::string name = fmt::format("vmrpc_{}_{}", prefix, metric.name);
        describe(out, name, metric.type, metric.help);
        for (const Report& each : list)
            out += fmt::format("{}{{{}}} {}\n", name, label(each), number(each, metric.key));
    }
}

void put_durations(std::string& out, const Report& functions) {
    constexpr std::array<std::array<const char*, 2>, 4> kQuantiles{
        {{"p50", "0.5"}, {"p90", "0.9"}, {"p99", "0.99"}, {"p999", "0.999"}}};
    const std::string name = "vmrpc_function_duration_seconds";
    describe(out, name, "summary", "How long the function took, of calls that were timed");
    for (const Report& each : functions) {
        const Report durations = each.value("duration_ns", Report::object());
        const std::string function = escaped(word(each, "name"));
        for (const auto& [key, quantile] : kQuantiles)
            out += fmt::format("{}{{function=\"{}\",quantile=\"{}\"}} {}\n", name, function, quantile,
                               number(durations, key) / 1e9);
        out += fmt::format("{}_count{{function=\"{}\"}} {}\n", name, function, number(durations, "samples"));
    }
}

}  // namespace

std::string as_prometheus(const Report& report) {
    std::string out;
    describe(out, "vmrpc_connections", "gauge", "Connections that are open");
    out += fmt::format("vmrpc_connections {}\n", number(report, "connection_count"));
    describe(out, "vmrpc_sleeps_total", "counter", "Times that the serving thread went to sleep");
    out += fmt::format("vmrpc_sleeps_total {}\n", number(report, "sleeps"));
    describe(out, "vmrpc_spins_total", "counter", "Rounds of the serving thread that found nothing");
    out += fmt::format("vmrpc_spins_total {}\n", number(report, "spins"));
    const Report functions = report.value("functions", Report::array());
    put(out, "function", kOfFunctions, functions,
        [](const Report& each) { return fmt::format("function=\"{}\"", escaped(word(each, "name"))); });
    put_durations(out, functions);
    put(out, "connection", kOfConnections, report.value("connections", Report::array()), [](const Report& each) {
        return fmt::format("connection=\"{}\",vm=\"{}\",pid=\"{}\"", number(each, "number"), number(each, "vm"),
                           number(each, "pid"));
    });
    return out;
}

}  // namespace tool
