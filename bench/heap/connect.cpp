#include "heap/connect.hpp"

#include "support/measure.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace vmrpc::bench {
namespace {

constexpr int kHeldConnections = 8;

/// Memory of a process that is not a file's: its own, and its part of what it shares with others.
double resident_bytes(pid_t process) {
    std::ifstream file(fmt::format("/proc/{}/smaps_rollup", process));
    double kib = 0;
    int found = 0;
    for (std::string line; std::getline(file, line);) {
        if (!line.starts_with("Pss_Anon:") && !line.starts_with("Pss_Shmem:")) continue;
        kib += std::stod(line.substr(line.find(':') + 1));
        ++found;
    }
    if (found != 2) throw std::runtime_error("the kernel does not say what a process has in memory");
    return kib * 1024;
}

/// Several at once, so that what the first one alone needs does not count in full.
double bytes_of_one(const std::string& address, pid_t server) {
    const auto resident = [&] { return resident_bytes(::getpid()) + resident_bytes(server); };
    std::vector<Client> held;
    held.reserve(kHeldConnections);
    const double before = resident();
    for (int i = 0; i < kHeldConnections; ++i) held.push_back(join_heap(address));
    return (resident() - before) / kHeldConnections;
}

}  // namespace

Sides connect_sides(ScratchFolder& folder) {
    const std::string address = "local:" + folder.fresh().string();
    return {.serve = [=](const Report& report) { serve_heap(address, report); },
            .call =
                [=](const Effort& effort, pid_t server) {
                    std::optional<Client> client;
                    Figures figures = measure_apart(
                        effort, [&](int) { client.reset(); }, [&](int) { client = join_heap(address); });
                    client.reset();
                    figures.resident_bytes = bytes_of_one(address, server);
                    return figures;
                }};
}

}  // namespace vmrpc::bench
