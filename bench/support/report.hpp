// What a benchmark says: a table to read, JSON to keep. Both from the same figures, in the run that measured them.
#pragma once

#include "support/stats.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace vmrpc::bench {

/// A row: one workload over all rounds.
struct Row {
    std::string name;  // in the table and in JSON
    std::string what;  // a few words on what is measured
    std::vector<Figures> rounds = {};
    double ratio = kUnknown;    // to what it is compared with
    std::string ratio_to = {};  // and that one's name
    std::string why_not = {};   // why it was not measured
    [[nodiscard]] Figures all() const { return over_rounds(rounds); }
};

/// The rows as a table, printed to stdout.
void print_table(const std::vector<Row>& rows);

/// A number, or null if it is unknown; a tenth of a unit is kept.
nlohmann::ordered_json to_json(double value);
/// A row with its medians, and the p50 of each round.
nlohmann::ordered_json to_json(const Row& row);

/// Writes a file, or nothing at all: first under another name, which then becomes the file's. Makes its folder. Throws
/// std::runtime_error.
void write_json(const std::string& path, const nlohmann::ordered_json& document);

}  // namespace vmrpc::bench
