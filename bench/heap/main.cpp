// vmrpc-bench-heap: what the RPC heap costs, beside mimalloc and Boost.Interprocess.
#include "heap/huge_pages.hpp"
#include "heap/mapped.hpp"
#include "heap/results.hpp"
#include "heap/workloads.hpp"
#include "support/program.hpp"

namespace vmrpc::bench {
namespace {

constexpr UsualRounds kRounds{.full = 21, .quick = 2};

int run(const RunOptions& options) {
    const Run run("heap", "The RPC heap", options, kRounds);
    const bool one_cpu = run.cpus().is_one();
    const HugePages huge_pages(2 * kMappedBytes);
    ScratchFolder folder;
    RoundsResult measured = run_rounds(
        heap_workloads(folder, {.scale = run.scale(), .one_cpu = one_cpu, .no_huge_pages = huge_pages.why_not()}),
        run.cpus(), run.rounds(), run.until_ns());
    compare_heap_rows(measured.rows, one_cpu);
    const nlohmann::ordered_json results = heap_results(measured.rows);
    return run.finish(
        measured, results,
        "p50, p99, p99.9 and ratios are medians of the rounds', of what the row says, once; CPU/call is that of "
        "both processes.\n" +
            heap_goal_lines(results));
}

}  // namespace
}  // namespace vmrpc::bench

int main(int argc, char** argv) {
    vmrpc::bench::RunOptions options;
    CLI::App app("Measures the RPC heap, beside mimalloc and Boost.Interprocess.", "vmrpc-bench-heap");
    vmrpc::bench::add_options(app, options, vmrpc::bench::kRounds);
    return vmrpc::bench::run_program(app, argc, argv, [&] { return vmrpc::bench::run(options); });
}
