#include "support/program.hpp"

#include "base/clock.hpp"
#include "support/interrupt.hpp"
#include "support/machine.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <utility>

namespace vmrpc::bench {
namespace {

void print_head(std::string_view title, const nlohmann::ordered_json& machine) {
    const auto text = [&](const char* key) { return machine[key].get<std::string>(); };
    fmt::print("{}, {}\n{}, {}, {}, commit {}\n", title, text("date"), text("processor"), text("kernel"),
               text("compiler"), text("commit"));
    if (machine["one_cpu"])
        fmt::print("Only one CPU can be used: both sides share it, and ratios to the floor mean nothing.\n");
    if (machine["load_average"] > 0.5)
        fmt::print("The machine was busy before (load {:.2f}): expect noise.\n", machine["load_average"].get<double>());
    if (!machine["optimized"]) fmt::print("This program was built without optimization.\n");
    std::fflush(stdout);
}

}  // namespace

void add_options(CLI::App& app, RunOptions& options, const UsualRounds& usual) {
    const auto last = CLI::MultiOptionPolicy::TakeLast;
    app.add_option("--json", options.json, "Also write the results to this file")->multi_option_policy(last);
    app.add_option("--rounds", options.rounds,
                   fmt::format("Alternating rounds [{}, quick: {}]", usual.full, usual.quick))
        ->check(CLI::Range(1, 1000));
    app.add_option("--limit", options.limit_s,
                   fmt::format("Seconds after which the run ends with what it has [{}]", options.limit_s))
        ->check(CLI::Range(1, 86'400));
    app.add_flag("--quick", options.quick, "A few seconds, for a first look: too short to be published");
}

Run::Run(std::string name, std::string_view title, const RunOptions& options, const UsualRounds& usual)
    : name_(std::move(name)),
      options_(options),
      rounds_(options.rounds != 0 ? options.rounds
              : options.quick     ? usual.quick
                                  : usual.full),
      until_ns_(base::now_ns() + options.limit_s * 1'000'000'000LL),
      cpus_(choose_cpus()),
      machine_(machine_facts(cpus_)) {
    print_head(title, machine_);
    catch_interrupts();
}

int Run::finish(const RoundsResult& measured, const nlohmann::ordered_json& results,
                std::string_view explanation) const {
    nlohmann::ordered_json document{{"benchmark", name_},
                                    {"rounds", measured.complete},
                                    {"complete", measured.stopped_by.empty()},
                                    {"quick", options_.quick}};
    document.update(results);
    document["rows"] = nlohmann::ordered_json::array();
    for (const Row& row : measured.rows) document["rows"].push_back(to_json(row));
    document["machine"] = machine_;
    print_table(measured.rows);
    fmt::print("{}", explanation);
    if (!options_.json.empty()) write_json(options_.json, document);
    if (measured.stopped_by.empty()) return 0;
    fmt::print(stderr, "ended after {} of {} rounds: {}\n", measured.complete, rounds_, measured.stopped_by);
    return 1;
}

std::string ratio_lines(const nlohmann::ordered_json& results, const std::vector<std::string>& keys) {
    std::string lines;
    for (const std::string& key : keys)
        lines +=
            fmt::format("{} {}, of single rounds {}\n", key, results[key].dump(), results[key + "_of_rounds"].dump());
    return lines;
}

int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& run) {
    CLI11_PARSE(app, argc, argv);
    try {
        return run();
    } catch (const std::exception& exception) {
        fmt::print(stderr, "{}: {}\n", app.get_name(), exception.what());
        return 1;
    }
}

}  // namespace vmrpc::bench
