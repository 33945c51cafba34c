// vmrpc-bench-null: what a call costs that does nothing, beside what the hardware and the kernel cost.
#include "null/results.hpp"
#include "null/workloads.hpp"
#include "support/program.hpp"

namespace vmrpc::bench {
namespace {

constexpr UsualRounds kRounds{.full = 61, .quick = 3};

int run(const RunOptions& options) {
    const Run run("null", "Null calls", options, kRounds);
    const bool one_cpu = run.cpus().is_one();
    ScratchFolder folder;
    RoundsResult measured =
        run_rounds(null_workloads(folder, run.scale(), one_cpu), run.cpus(), run.rounds(), run.until_ns());
    compare_null_rows(measured.rows, one_cpu);
    const nlohmann::ordered_json results = null_results(measured.rows, one_cpu);
    return run.finish(measured, results,
                      "p50, p99, p99.9 and ratios are medians of the rounds', for one round trip; CPU/call is that of "
                      "both processes.\n" +
                          ratio_lines(results, {"ratio_to_floor", "pipelined16_ratio", "pipelined64_ratio",
                                                "two_threads_ratio", "blocked_ratio_to_futex"}));
}

}  // namespace
}  // namespace vmrpc::bench

int main(int argc, char** argv) {
    vmrpc::bench::RunOptions options;
    CLI::App app("Measures null calls, beside the floor that the hardware sets and a bare futex.", "vmrpc-bench-null");
    vmrpc::bench::add_options(app, options, vmrpc::bench::kRounds);
    return vmrpc::bench::run_program(app, argc, argv, [&] { return vmrpc::bench::run(options); });
}
