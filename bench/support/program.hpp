// What the programs have in common: their options, what they say first and last, and how they end.
#pragma once

#include "support/pin.hpp"
#include "support/rounds.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace vmrpc::bench {

struct RunOptions {
    std::string json;
    int rounds = 0;  // 0: the usual number
    int limit_s = 180;
    bool quick = false;
};

/// How many rounds a run makes where --rounds does not say.
struct UsualRounds {
    int full = 0;
    int quick = 0;
};

void add_options(CLI::App& app, RunOptions& options, const UsualRounds& usual);

/// A benchmark as it runs, from its first line to its exit status.
class Run {
  public:
    /// Prints what the figures are of and where they were measured, and what speaks against them. From here on signals
    /// end the run in order. `name`: the benchmark's, in JSON.
    Run(std::string name, std::string_view title, const RunOptions& options, const UsualRounds& usual);

    [[nodiscard]] const CpuPair& cpus() const { return cpus_; }
    [[nodiscard]] int rounds() const { return rounds_; }
    /// Of the counts, 1 for a full run.
    [[nodiscard]] double scale() const { return options_.quick ? 0.1 : 1; }
    /// When it is to end, of base::now_ns().
    [[nodiscard]] std::int64_t until_ns() const { return until_ns_; }

    /// Prints the table of all rows and `explanation` below it, and writes the JSON if that was asked for: what every
    /// benchmark says, then `results`, the rows and the machine. Returns the exit status: 0 if every round was made.
    int finish(const RoundsResult& measured, const nlohmann::ordered_json& results, std::string_view explanation) const;

  private:
    std::string name_;
    RunOptions options_;
    int rounds_;
    std::int64_t until_ns_;
    CpuPair cpus_;
    nlohmann::ordered_json machine_;
};

/// "key 1.28, of single rounds {…}", for each key that names a ratio.
std::string ratio_lines(const nlohmann::ordered_json& results, const std::vector<std::string>& keys);

/// What main() does: takes the options of `app`, then runs; what is thrown becomes a line and exit status 1.
int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& run);

}  // namespace vmrpc::bench
