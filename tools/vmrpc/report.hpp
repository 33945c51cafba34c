// A server's report, and the ways to show it. The keys are those that docs/STATS.md lists.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace tool {

using Report = nlohmann::ordered_json;

/// A number of the report; 0 where it is not there: an older server may not count it.
double number(const Report& from, const char* key);
std::string word(const Report& from, const char* key);

/// Tables for people: everything since the server began.
std::string as_tables(const Report& report);
/// The same for what came between two reports, for each second between them.
std::string as_rates(const Report& before, const Report& after, double seconds);
/// The Prometheus text format, version 0.0.4.
std::string as_prometheus(const Report& report);

}  // namespace tool
