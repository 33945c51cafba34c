#include "support/rounds.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <exception>

namespace vmrpc::bench {
namespace {

void show_progress(int round, int rounds, const std::string& name) {
    static const bool is_terminal = ::isatty(STDERR_FILENO) == 1;
    if (is_terminal)
        fmt::print(stderr, "\r\033[K{}", rounds == 0 ? "" : fmt::format("round {}/{}: {}", round, rounds, name));
}

}  // namespace

RoundsResult run_rounds(const std::vector<Workload>& workloads, const CpuPair& cpus, int rounds,
                        std::int64_t until_ns) {
    RoundsResult result;
    for (const Workload& workload : workloads)
        result.rows.push_back({.name = workload.name, .what = workload.what, .why_not = workload.why_not});
    try {
        for (; result.complete < rounds; ++result.complete) {
            for (std::size_t i = 0; i < workloads.size(); ++i) {
                const std::size_t index = result.complete % 2 == 0 ? i : workloads.size() - 1 - i;
                if (!workloads[index].why_not.empty()) continue;
                show_progress(result.complete + 1, rounds, workloads[index].name);
                result.rows[index].rounds.push_back(run_pair(workloads[index], cpus, until_ns));
            }
        }
    } catch (const std::exception& exception) {
        result.stopped_by = exception.what();
    }
    show_progress(0, 0, {});
    return result;
}

}  // namespace vmrpc::bench
