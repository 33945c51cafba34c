// What reports of servers and of clients have in common.
#pragma once

#include "base/clock.hpp"
#include "base/histogram.hpp"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>

namespace vmrpc {

using Json = nlohmann::ordered_json;

/// Whole seconds since a time of base::now_ns().
inline std::int64_t seconds_since(std::int64_t then_ns) {
    constexpr std::int64_t kNsPerS = 1'000'000'000;
    return (base::now_ns() - then_ns) / kNsPerS;
}

inline Json of_durations(const base::Histogram& durations) {
    return {{"samples", durations.total()},
            {"p50", durations.quantile(0.5)},
            {"p90", durations.quantile(0.9)},
            {"p99", durations.quantile(0.99)},
            {"p999", durations.quantile(0.999)}};
}

/// Text that is no UTF-8, as a name may be, is made so.
inline std::string text_of(const Json& report) {
    return report.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace vmrpc
