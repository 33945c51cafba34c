// vmrpc-bench-vm: what a call costs from a virtual machine into its host, for each kind of memory and bell, beside the
// floor and TCP.
#include "support/program.hpp"
#include "vm/client.hpp"
#include "vm/host.hpp"
#include "vm/results.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace vmrpc::bench {
namespace {

constexpr UsualRounds kRounds{.full = 11, .quick = 1};
constexpr int kLimitS = 600;

struct AllRounds {
    RoundsResult measured = {};  // the rows of all guests, each with its combination's name
    nlohmann::ordered_json guest{{"emulated", nullptr}, {"accelerator", nullptr}};  // what ran them
    nlohmann::ordered_json combinations = {};
    bool was_stopped = false;
};

void add_rows(RoundsResult& all, const std::string& name, const RoundsResult& measured) {
    all.complete = all.rows.empty() ? measured.complete : std::min(all.complete, measured.complete);
    if (all.stopped_by.empty() && !measured.stopped_by.empty())
        all.stopped_by = fmt::format("{}: {}", name, measured.stopped_by);
    for (Row row : measured.rows) {
        row.name = fmt::format("{}: {}", name, row.name);
        if (row.rounds.empty())
            row.why_not = measured.stopped_by.empty() ? "the run has ended before" : measured.stopped_by;
        all.rows.push_back(std::move(row));
    }
}

void measure(AllRounds& all, const Combination& combination, const Network& network, const RunEffort& effort) {
    GuestRounds guest = all.was_stopped ? nothing_measured() : run_guest_rounds(combination, network, effort);
    all.was_stopped = all.was_stopped || guest.was_stopped;
    if (!guest.accelerator.empty())
        all.guest = {{"emulated", !guest.accelerator.starts_with("KVM")}, {"accelerator", guest.accelerator}};
    compare_guest_rows(guest.measured.rows);
    all.combinations[combination.key()] = guest_results(combination, guest, network);
    add_rows(all.measured, combination.name(), guest.measured);
}

std::string network_line(const Network& network) {
    if (network.why_not.empty()) return "tcp goes through a TAP device.\n";
    return fmt::format("tcp goes through QEMU's user-mode network (slirp), as there is no TAP device: {}.\n",
                       network.why_not);
}

int run(const RunOptions& options, const std::vector<std::string>& only) {
    const Run run("vm", "Calls from virtual machines", options, kRounds);
    const Network network = enter_network();
    const RunEffort effort{
        .cpus = run.cpus(), .scale = run.scale(), .rounds = run.rounds(), .until_ns = run.until_ns()};
    AllRounds all;
    for (const Combination& combination : combinations())
        if (only.empty() || std::count(only.begin(), only.end(), combination.key()) != 0)
            measure(all, combination, network, effort);
    nlohmann::ordered_json results = all.guest;
    results["network"] = network.name();
    if (!network.why_not.empty()) results["no_tap_because"] = network.why_not;
    results["combinations"] = all.combinations;
    if (!all.guest["accelerator"].is_null())
        fmt::print("The guests ran by {}.\n", all.guest["accelerator"].get<std::string>());
    fmt::print("{}", network_line(network));
    return run.finish(all.measured, results,
                      "p50, p99, p99.9 and ratios are medians of the rounds', for one round trip; data is built, "
                      "summed and freed.\n" +
                          combination_lines(all.combinations) + combination_goal_lines(all.combinations));
}

}  // namespace
}  // namespace vmrpc::bench

int main(int argc, char** argv) {
    vmrpc::bench::RunOptions options;
    options.limit_s = vmrpc::bench::kLimitS;
    vmrpc::bench::PlacesWords words;
    std::vector<std::string> only;
    CLI::App app("Measures calls from virtual machines into their host, beside the floor and TCP.", "vmrpc-bench-vm");
    vmrpc::bench::add_options(app, options, vmrpc::bench::kRounds);
    std::vector<std::string> keys;
    for (const auto& combination : vmrpc::bench::combinations()) keys.push_back(combination.key());
    app.add_option("--only", only, "Combinations to measure [all]")->check(CLI::IsMember(keys))->delimiter(',');
    auto* client = app.add_subcommand("client", "What the benchmark itself runs in its guests")->group("");
    client->add_option("memory", words.memory)->required();
    client->add_option("ring", words.ring)->required();
    client->add_option("spin-ring", words.spin_ring)->required();
    client->add_option("port", words.tcp_port)->required();
    return vmrpc::bench::run_program(app, argc, argv, [&] {
        if (!*client) return vmrpc::bench::run(options, only);
        vmrpc::bench::take_orders(words);
        return 0;
    });
}
