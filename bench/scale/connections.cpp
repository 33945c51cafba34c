#include "scale/connections.hpp"

#include "scale/server.hpp"
#include "support/measure.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <chrono>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

namespace vmrpc::bench {
namespace {

/// The sum of some lines of a file of /proc that are "Key:  123 kB".
double bytes_in(const std::string& path, std::initializer_list<std::string_view> keys) {
    std::ifstream file(path);
    double kib = 0;
    std::size_t found = 0;
    for (std::string line; std::getline(file, line);) {
        for (const std::string_view key : keys) {
            if (!line.starts_with(key)) continue;
            kib += std::stod(line.substr(line.find(':') + 1));
            ++found;
        }
    }
    if (found != keys.size()) throw std::runtime_error(fmt::format("{} does not say what was looked for", path));
    return kib * 1024;
}

/// Memory of a process alone that is not a file's, and the tables that map all of its memory.
double private_bytes(pid_t process) {
    return bytes_in(fmt::format("/proc/{}/smaps_rollup", process), {"Pss_Anon:"}) +
           bytes_in(fmt::format("/proc/{}/status", process), {"VmPTE:"});
}

/// A process's part of what it shares.
double shared_bytes(pid_t process) {
    return bytes_in(fmt::format("/proc/{}/smaps_rollup", process), {"Pss_Shmem:"});
}

Figures watch_idle(const std::string& address, int count, const Effort& effort, pid_t server) {
    const auto in_server = [&] { return private_bytes(server) + shared_bytes(server) + shared_bytes(::getpid()); };
    const auto in_client = [] { return private_bytes(::getpid()); };
    const std::vector<Client> first = connect_all(address, 1);  // what the first one alone needs is not counted
    const double server_before = in_server();
    const double client_before = in_client();
    const std::vector<Client> others = connect_all(address, count);
    Figures figures;
    figures.resident_bytes = (in_server() - server_before) / count;
    figures.client_bytes = (in_client() - client_before) / count;
    using Seconds = std::chrono::duration<double>;
    std::this_thread::sleep_for(Seconds(0.2));  // connections come to rest
    std::vector<double> samples;
    for (int i = 0; i < effort.singles; ++i) {
        const std::int64_t start_ns = base::now_ns();
        const std::int64_t burned_ns = cpu_time_ns(server);
        std::this_thread::sleep_for(effort.idle);
        const double passed_s = static_cast<double>(base::now_ns() - start_ns) / 1e9;
        samples.push_back(static_cast<double>(cpu_time_ns(server) - burned_ns) / passed_s);
    }
    figures.p50_ns = median(samples);
    figures.calls = samples.size();
    return figures;
}

}  // namespace

Sides hot_sides(ScratchFolder& folder, int count) {
    const std::string address = "local:" + folder.fresh().string();
    return {.serve = [=](const Report& report) { serve_scale(address, report); },
            .call =
                [=](const Effort& effort, pid_t server) {
                    const std::vector<Client> clients = connect_all(address, count);
                    const Client& hot = clients.back();
                    return measure(effort, server, [&](int calls) {
                        for (int i = 0; i < calls; ++i) must(hot.call<nothing>());
                    });
                }};
}

Sides idle_sides(ScratchFolder& folder, int count) {
    const std::string address = "local:" + folder.fresh().string();
    return {.serve = [=](const Report& report) { serve_scale(address, report); },
            .call = [=](const Effort& effort, pid_t server) { return watch_idle(address, count, effort, server); }};
}

}  // namespace vmrpc::bench
