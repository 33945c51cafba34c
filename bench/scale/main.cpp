// vmrpc-bench-scale: one server and many clients.
#include "scale/results.hpp"
#include "scale/workloads.hpp"
#include "support/program.hpp"

namespace vmrpc::bench {
namespace {

constexpr UsualRounds kRounds{.full = 9, .quick = 1};

int run(const RunOptions& options) {
    const Run run("scale", "One server, many clients", options, kRounds);
    ScratchFolder folder;
    RoundsResult measured = run_rounds(scale_workloads(folder, run.scale()), run.cpus(), run.rounds(), run.until_ns());
    compare_scale_rows(measured.rows);
    const nlohmann::ordered_json results = scale_results(measured.rows);
    return run.finish(measured, results,
                      "p50, p99, p99.9 and ratios are medians of the rounds'; CPU/call is that of both processes.\n"
                      "All clients run on one CPU, the server on another: busy ones wait for each other there.\n" +
                          scale_goal_lines(results));
}

}  // namespace
}  // namespace vmrpc::bench

int main(int argc, char** argv) {
    vmrpc::bench::RunOptions options;
    CLI::App app("Measures one server with many clients: in use, idle, flooding, late.", "vmrpc-bench-scale");
    vmrpc::bench::add_options(app, options, vmrpc::bench::kRounds);
    return vmrpc::bench::run_program(app, argc, argv, [&] { return vmrpc::bench::run(options); });
}
