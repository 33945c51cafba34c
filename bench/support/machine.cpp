#include "support/machine.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <memory>
#include <string>

namespace vmrpc::bench {
namespace {

#if defined(__clang__)
constexpr auto kCompiler = "clang++ " __clang_version__;
#else
constexpr auto kCompiler = "g++ " __VERSION__;
#endif
#if defined(__OPTIMIZE__)
constexpr bool kIsOptimized = true;
#else
constexpr bool kIsOptimized = false;
#endif

std::string processor() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
    }
    return "unknown";
}

std::string kernel() {
    utsname name{};
    ::uname(&name);
    return fmt::format("{} {} {}", name.sysname, name.release, name.machine);
}

/// The commit of the sources, with "-dirty" behind it if they were changed since.
std::string commit() {
    const auto close = [](FILE* pipe) { ::pclose(pipe); };
    const std::unique_ptr<FILE, decltype(close)> git(
        ::popen("git -C '" VMRPC_SOURCE_DIR "' describe --always --dirty --abbrev=12 --match= 2>/dev/null", "re"),
        close);
    std::array<char, 128> line{};
    if (git == nullptr || std::fgets(line.data(), line.size(), git.get()) == nullptr) return "unknown";
    std::string text(line.data());
    return text.substr(0, text.find('\n'));
}

}  // namespace

double load_average() {
    double load = 0;
    return ::getloadavg(&load, 1) == 1 ? load : -1;
}

nlohmann::ordered_json machine_facts(const CpuPair& cpus) {
    return {{"processor", processor()},
            {"cpus", ::sysconf(_SC_NPROCESSORS_ONLN)},
            {"caller_cpu", cpus.caller},
            {"server_cpu", cpus.server},
            {"one_cpu", cpus.is_one()},
            {"kernel", kernel()},
            {"compiler", kCompiler},
            {"optimized", kIsOptimized},
            {"commit", commit()},
            {"date", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)))},
            {"load_average", load_average()}};
}

}  // namespace vmrpc::bench
