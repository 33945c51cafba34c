#include "text/table.hpp"
#include "vmrpc/report.hpp"

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <string_view>

namespace tool {
namespace {

constexpr double kNsPerUs = 1'000;

std::string count(double value) {
    return text::grouped(static_cast<std::uint64_t>(std::llround(std::max(value, 0.0))));
}

std::string duration_us(const Report& function, const char* quantile) {
    const auto found = function.find("duration_ns");
    if (found == function.end() || number(*found, "samples") == 0) return "-";
    return text::measured(number(*found, quantile) / kNsPerUs);
}

std::string caller(const Report& connection) {
    if (number(connection, "vm") != 0) return fmt::format("VM {}", number(connection, "vm"));
    return fmt::format("pid {}, uid {}", number(connection, "pid"), number(connection, "uid"));
}

std::string heading(const Report& report) {
    return fmt::format("{}: pid {}, up {} s, {} connections, slept {} times\n\n", word(report, "address"),
                       number(report, "pid"), number(report, "up_s"), number(report, "connection_count"),
                       count(number(report, "sleeps")));
}

/// The object of a list with the same value at `key`; an empty one if there is none.
const Report& same(const Report& list, const char* key, const Report& wanted) {
    static const Report kNone = Report::object();
    for (const Report& each : list) {
        if (each.value(key, Report()) == wanted.value(key, Report())) return each;
    }
    return kNone;
}

/// What `after` has more than `before`, for each second.
class Rates {
  public:
    Rates(const Report& before, const Report& after, double seconds)
        : before_(before), after_(after), seconds_(seconds) {}
    [[nodiscard]] std::string operator()(const char* key) const {
        return count((number(after_, key) - number(before_, key)) / seconds_);
    }

  private:
    const Report& before_;
    const Report& after_;
    double seconds_;
};

template <class Value>
text::Table table(const Report& report, const char* unit, Value&& value) {
    text::Table made;
    made.head({fmt::format("functions{}", unit), "calls", "errors", "late", "bytes", "copies", "p50 µs", "p99 µs",
               "p99.9 µs"});
    for (const Report& each : report.value("functions", Report::array())) {
        const auto of = value("functions", "name", each);
        made.row({word(each, "name"), of("calls"), of("errors"), of("deadline_misses"), of("bytes"), of("copies"),
                  duration_us(each, "p50"), duration_us(each, "p99"), duration_us(each, "p999")});
    }
    made.head({fmt::format("connections{}", unit), "calls", "errors", "rings", "bytes", "copies", "live blocks",
               "live bytes", "committed"});
    for (const Report& each : report.value("connections", Report::array())) {
        const auto of = value("connections", "number", each);
        made.row({fmt::format("{} ({})", number(each, "number"), caller(each)), of("calls"), of("errors"), of("rings"),
                  of("bytes"), of("copies"), count(number(each, "live_blocks")), count(number(each, "live_bytes")),
                  count(number(each, "committed_bytes"))});
    }
    return made;
}

}  // namespace

double number(const Report& from, const char* key) {
    const auto found = from.find(key);
    return found != from.end() && found->is_number() ? found->get<double>() : 0;
}

std::string word(const Report& from, const char* key) {
    const auto found = from.find(key);
    return found != from.end() && found->is_string() ? found->get<std::string>() : "?";
}

std::string as_tables(const Report& report) {
    const auto all = [](const char* /*list*/, const char* /*key*/, const Report& each) {
        return [&each](const char* key) { return count(number(each, key)); };
    };
    return heading(report) + table(report, "", all).text();
}

std::string as_rates(const Report& before, const Report& after, double seconds) {
    const auto rates = [&](const char* list, const char* key, const Report& each) {
        const auto found = before.find(list);
        static const Report kNone = Report::object();
        return Rates(found == before.end() ? kNone : same(*found, key, each), each, seconds);
    };
    return heading(after) + table(after, ", for each second", rates).text();
}

}  // namespace tool
