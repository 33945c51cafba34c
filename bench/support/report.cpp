#include "support/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace vmrpc::bench {
namespace {

std::string nanoseconds(double value) {
    if (std::isnan(value)) return "-";
    return value < 10'000 ? fmt::format("{:.0f} ns", value) : fmt::format("{:.1f} us", value / 1000);
}

std::string microseconds(double value_ns) {
    return std::isnan(value_ns) ? "-" : fmt::format("{:.2f} us", value_ns / 1000);
}

}  // namespace

void print_table(const std::vector<Row>& rows) {
    std::size_t width = 15;
    for (const Row& row : rows) width = std::max(width, row.name.size());
    fmt::print("{:<{}} {:>10} {:>10} {:>10} {:>10} {:>11} {:>10}\n", "", width, "p50", "p99", "p99.9", "max",
               "CPU/call", "calls");
    for (const Row& row : rows) {
        if (!row.why_not.empty()) {
            fmt::print("{:<{}} not measured: {}\n", row.name, width, row.why_not);
            continue;
        }
        const Figures all = row.all();
        const std::string ratio = std::isnan(row.ratio) ? "" : fmt::format("; {:.2f} x {}", row.ratio, row.ratio_to);
        fmt::print("{:<{}} {:>10} {:>10} {:>10} {:>10} {:>11} {:>10}  {}{}\n", row.name, width, nanoseconds(all.p50_ns),
                   nanoseconds(all.p99_ns), nanoseconds(all.p999_ns), nanoseconds(all.max_ns), microseconds(all.cpu_ns),
                   all.calls, row.what, ratio);
    }
}

nlohmann::ordered_json to_json(double value) {
    if (std::isnan(value)) return nullptr;
    return std::round(value * 10) / 10;
}

nlohmann::ordered_json to_json(const Row& row) {
    const Figures all = row.all();
    auto rounds = nlohmann::ordered_json::array();
    for (const Figures& round : row.rounds) rounds.push_back(to_json(round.p50_ns));
    nlohmann::ordered_json json{{"name", row.name},
                                {"what", row.what},
                                {"p50_ns", to_json(all.p50_ns)},
                                {"p99_ns", to_json(all.p99_ns)},
                                {"p999_ns", to_json(all.p999_ns)},
                                {"max_ns", to_json(all.max_ns)},
                                {"cpu_seconds_per_call", nullptr},
                                {"calls", all.calls},
                                {"rounds_p50_ns", rounds}};
    if (!std::isnan(all.resident_bytes)) json["resident_bytes"] = std::round(all.resident_bytes);
    if (!row.why_not.empty()) json["not_measured"] = row.why_not;
    if (!std::isnan(all.cpu_ns)) json["cpu_seconds_per_call"] = std::round(all.cpu_ns * 10) / 1e10;
    return json;
}

void write_json(const std::string& path, const nlohmann::ordered_json& document) {
    const std::filesystem::path file(path);
    const std::filesystem::path part(path + ".part");
    if (file.has_parent_path()) std::filesystem::create_directories(file.parent_path());
    std::ofstream out(part);
    out << document.dump(2) << '\n';
    out.close();
    if (!out) throw std::runtime_error(fmt::format("cannot write {}", part.string()));
    std::filesystem::rename(part, file);
}

}  // namespace vmrpc::bench
