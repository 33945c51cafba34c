#include "support/pair.hpp"

#include <tuple>

namespace vmrpc::bench {
namespace {

struct Ready {
    char yes = 'y';
};

}  // namespace

void say_ready(const Report& report) {
    report.send(Ready{});
}

Figures run_pair(const Workload& workload, const CpuPair& cpus, std::int64_t until_ns) {
    const Sides sides = workload.prepare();
    const Child server(cpus.server, sides.serve);
    std::ignore = server.receive<Ready>(until_ns);
    const Child caller(cpus.caller,
                       [&](const Report& report) { report.send(sides.call(workload.effort, server.pid())); });
    return caller.receive<Figures>(until_ns);
}

}  // namespace vmrpc::bench
