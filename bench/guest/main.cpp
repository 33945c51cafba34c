// vmrpc-bench-guest: what a call costs from a virtual machine into its host, beside the floor and TCP.
#include "guest/client.hpp"
#include "guest/host.hpp"
#include "guest/results.hpp"
#include "support/program.hpp"

#include <fmt/format.h>

#include <cstdint>

namespace vmrpc::bench {
namespace {

constexpr UsualRounds kRounds{.full = 21, .quick = 2};

int run(const RunOptions& options) {
    const Run run("guest", "Calls from a guest", options, kRounds);
    GuestRounds result = run_guest_rounds(run.cpus(), run.scale(), run.rounds(), run.until_ns());
    compare_guest_rows(result.measured.rows);
    nlohmann::ordered_json results{{"emulated", result.emulated}, {"accelerator", result.accelerator}};
    results.update(guest_results(result.measured.rows));
    fmt::print("The guest ran by {}.\n", result.accelerator);
    return run.finish(result.measured, results,
                      "p50, p99, p99.9 and ratios are medians of the rounds', for one round trip; data is built, "
                      "summed and freed.\n" +
                          ratio_lines(results, {"spin_vs_floor", "tcp_vs_spin"}));
}

}  // namespace
}  // namespace vmrpc::bench

int main(int argc, char** argv) {
    vmrpc::bench::RunOptions options;
    std::uint16_t tcp_port = 0;
    CLI::App app("Measures calls from a virtual machine into its host, beside the floor and TCP.", "vmrpc-bench-guest");
    vmrpc::bench::add_options(app, options, vmrpc::bench::kRounds);
    auto* client = app.add_subcommand("client", "What the benchmark itself runs in its guest")->group("");
    client->add_option("port", tcp_port)->required();
    return vmrpc::bench::run_program(app, argc, argv, [&] {
        if (!*client) return vmrpc::bench::run(options);
        vmrpc::bench::take_orders(tcp_port);
        return 0;
    });
}
