// vmrpc-bench-null: what a call costs that does nothing, beside what the hardware and the kernel cost.
#include "base/clock.hpp"
#include "null/results.hpp"
#include "null/workloads.hpp"
#include "support/interrupt.hpp"
#include "support/machine.hpp"
#include "support/report.hpp"
#include "support/rounds.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <string>

namespace vmrpc::bench {
namespace {

struct Options {
    std::string json;
    int rounds = 0;  // 0: the usual number
    int limit_s = 180;
    bool quick = false;
};

CLI::App& describe(CLI::App& app, Options& options) {
    const auto last = CLI::MultiOptionPolicy::TakeLast;
    app.add_option("--json", options.json, "Also write the results to this file")->multi_option_policy(last);
    app.add_option("--rounds", options.rounds, "Alternating rounds [61, quick: 3]")->check(CLI::Range(1, 1000));
    app.add_option("--limit", options.limit_s, "Seconds after which the run ends with what it has [180]")
        ->check(CLI::Range(1, 86'400));
    app.add_flag("--quick", options.quick, "A few seconds, for a first look: too short to be published");
    return app;
}

void warn(const nlohmann::ordered_json& machine) {
    if (machine["one_cpu"])
        fmt::print("Only one CPU can be used: both sides share it, and ratios to the floor mean nothing.\n");
    if (machine["load_average"] > 0.5)
        fmt::print("The machine was busy before (load {:.2f}): expect noise.\n", machine["load_average"].get<double>());
    if (!machine["optimized"]) fmt::print("This program was built without optimization.\n");
}

void print_head(const nlohmann::ordered_json& machine) {
    const auto text = [&](const char* key) { return machine[key].get<std::string>(); };
    fmt::print("Null calls, {}\n{}, {}, {}, commit {}\n", text("date"), text("processor"), text("kernel"),
               text("compiler"), text("commit"));
    warn(machine);
    std::fflush(stdout);
}

void print_results(const std::vector<Row>& rows, const nlohmann::ordered_json& results) {
    print_table(rows);
    fmt::print(
        "p50, p99 and p99.9 are medians of the rounds', for one round trip; CPU/call is that of both processes.\n");
    for (const std::string key : {"ratio_to_floor", "blocked_ratio_to_futex"})
        fmt::print("{} {}, of single rounds {}\n", key, results[key].dump(), results[key + "_of_rounds"].dump());
}

int run(const Options& options) {
    const std::int64_t until_ns = base::now_ns() + options.limit_s * 1'000'000'000LL;
    const int rounds = options.rounds != 0 ? options.rounds : options.quick ? 3 : 61;
    const CpuPair cpus = choose_cpus();
    const nlohmann::ordered_json machine = machine_facts(cpus);
    print_head(machine);
    catch_interrupts();
    ScratchFolder folder;
    RoundsResult measured =
        run_rounds(null_workloads(folder, options.quick ? 0.1 : 1, cpus.is_one()), cpus, rounds, until_ns);
    compare_null_rows(measured.rows, cpus.is_one());
    nlohmann::ordered_json document{{"benchmark", "null"},
                                    {"rounds", measured.complete},
                                    {"complete", measured.stopped_by.empty()},
                                    {"quick", options.quick}};
    document.update(null_results(measured.rows, cpus.is_one()));
    document["rows"] = nlohmann::ordered_json::array();
    for (const Row& row : measured.rows) document["rows"].push_back(to_json(row));
    document["machine"] = machine;
    print_results(measured.rows, document);
    if (!options.json.empty()) write_json(options.json, document);
    if (measured.stopped_by.empty()) return 0;
    fmt::print(stderr, "ended after {} of {} rounds: {}\n", measured.complete, rounds, measured.stopped_by);
    return 1;
}

}  // namespace
}  // namespace vmrpc::bench

int main(int argc, char** argv) {
    vmrpc::bench::Options options;
    CLI::App app("Measures null calls, beside the floor that the hardware sets and a bare futex.", "vmrpc-bench-null");
    CLI11_PARSE(vmrpc::bench::describe(app, options), argc, argv);
    try {
        return vmrpc::bench::run(options);
    } catch (const std::exception& exception) {
        fmt::print(stderr, "vmrpc-bench-null: {}\n", exception.what());
        return 1;
    }
}
