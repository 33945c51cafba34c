#include "support/pin.hpp"

#include <fmt/format.h>

#include <sched.h>

#include <cerrno>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

namespace vmrpc::bench {
namespace {

/// What it was when this was first called. Children know it from their parent.
const cpu_set_t& allowed_set() {
    static const cpu_set_t first = [] {
        cpu_set_t set;
        if (::sched_getaffinity(0, sizeof set, &set) != 0)
            throw std::system_error(errno, std::generic_category(), "cannot ask which CPUs this process may use");
        return set;
    }();
    return first;
}

std::vector<int> allowed_cpus() {
    std::vector<int> cpus;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &allowed_set())) cpus.push_back(cpu);
    }
    return cpus;
}

/// The hardware threads of a CPU's core, as the kernel writes them; empty if it does not say.
std::string core_of(int cpu) {
    std::ifstream file(fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu));
    std::string siblings;
    std::getline(file, siblings);
    return siblings;
}

}  // namespace

CpuPair choose_cpus() {
    const std::vector<int> cpus = allowed_cpus();
    const std::string first_core = core_of(cpus.front());
    for (const int cpu : cpus) {
        if (cpu != cpus.front() && (first_core.empty() || core_of(cpu) != first_core)) return {cpus.front(), cpu};
    }
    return {cpus.front(), cpus.back()};
}

int allowed_cpu_count() {
    return CPU_COUNT(&allowed_set());
}

void pin_to(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (::sched_setaffinity(0, sizeof set, &set) != 0)
        throw std::system_error(errno, std::generic_category(), fmt::format("cannot run on CPU {} alone", cpu));
}

void unpin() {
    if (::sched_setaffinity(0, sizeof allowed_set(), &allowed_set()) != 0)
        throw std::system_error(errno, std::generic_category(), "cannot run on all CPUs again");
}

}  // namespace vmrpc::bench
