// vmrpc-bench-guest: what a call costs from a virtual machine into its host, beside the floor and TCP.
#include "base/clock.hpp"
#include "guest/client.hpp"
#include "guest/host.hpp"
#include "guest/results.hpp"
#include "support/interrupt.hpp"
#include "support/machine.hpp"
#include "support/report.hpp"

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
    std::uint16_t tcp_port = 0;
};

void describe(CLI::App& app, Options& options) {
    const auto last = CLI::MultiOptionPolicy::TakeLast;
    app.add_option("--json", options.json, "Also write the results to this file")->multi_option_policy(last);
    app.add_option("--rounds", options.rounds, "Alternating rounds [21, quick: 2]")->check(CLI::Range(1, 1000));
    app.add_option("--limit", options.limit_s, "Seconds after which the run ends with what it has [180]")
        ->check(CLI::Range(1, 86'400));
    app.add_flag("--quick", options.quick, "A few seconds, for a first look: too short to be published");
    auto* client = app.add_subcommand("client", "What the benchmark itself runs in its guest")->group("");
    client->add_option("port", options.tcp_port)->required();
}

void print_head(const nlohmann::ordered_json& machine) {
    const auto text = [&](const char* key) { return machine[key].get<std::string>(); };
    fmt::print("Calls from a guest, {}\n{}, {}, {}, commit {}\n", text("date"), text("processor"), text("kernel"),
               text("compiler"), text("commit"));
    if (machine["one_cpu"])
        fmt::print("Only one CPU can be used: both sides share it, and the figures mean nothing.\n");
    if (machine["load_average"] > 0.5)
        fmt::print("The machine was busy before (load {:.2f}): expect noise.\n", machine["load_average"].get<double>());
    std::fflush(stdout);
}

void print_results(const GuestRounds& rounds, const nlohmann::ordered_json& results) {
    fmt::print("The guest ran by {}.\n", rounds.accelerator);
    print_table(rounds.measured.rows);
    fmt::print("p50, p99 and p99.9 are medians of the rounds', for one round trip; data is built, summed and freed.\n");
    for (const std::string key : {"spin_vs_floor", "tcp_vs_spin"})
        fmt::print("{} {}, of single rounds {}\n", key, results[key].dump(), results[key + "_of_rounds"].dump());
}

int run(const Options& options) {
    const std::int64_t until_ns = base::now_ns() + options.limit_s * 1'000'000'000LL;
    const int rounds = options.rounds != 0 ? options.rounds : options.quick ? 2 : 21;
    const CpuPair cpus = choose_cpus();
    const nlohmann::ordered_json machine = machine_facts(cpus);
    print_head(machine);
    catch_interrupts();
    GuestRounds result = run_guest_rounds(cpus, options.quick ? 0.1 : 1, rounds, until_ns);
    RoundsResult& measured = result.measured;
    compare_guest_rows(measured.rows);
    nlohmann::ordered_json document{
        {"benchmark", "guest"},   {"rounds", measured.complete}, {"complete", measured.stopped_by.empty()},
        {"quick", options.quick}, {"emulated", result.emulated}, {"accelerator", result.accelerator}};
    document.update(guest_results(measured.rows));
    document["rows"] = nlohmann::ordered_json::array();
    for (const Row& row : measured.rows) document["rows"].push_back(to_json(row));
    document["machine"] = machine;
    print_results(result, document);
    if (!options.json.empty()) write_json(options.json, document);
    if (measured.stopped_by.empty()) return 0;
    fmt::print(stderr, "ended after {} of {} rounds: {}\n", measured.complete, rounds, measured.stopped_by);
    return 1;
}

}  // namespace
}  // namespace vmrpc::bench

int main(int argc, char** argv) {
    vmrpc::bench::Options options;
    CLI::App app("Measures calls from a virtual machine into its host, beside the floor and TCP.", "vmrpc-bench-guest");
    vmrpc::bench::describe(app, options);
    CLI11_PARSE(app, argc, argv);
    try {
        if (!app.got_subcommand("client")) return vmrpc::bench::run(options);
        vmrpc::bench::take_orders(options.tcp_port);
        return 0;
    } catch (const std::exception& exception) {
        fmt::print(stderr, "vmrpc-bench-guest: {}\n", exception.what());
        return 1;
    }
}
