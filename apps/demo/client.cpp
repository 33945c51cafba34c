#include "client.hpp"

#include "combinations.hpp"
#include "connecting.hpp"
#include "echo.hpp"
#include "failure.hpp"
#include "files.hpp"
#include "json_file.hpp"
#include "kinds.hpp"
#include "latency.hpp"
#include "progress.hpp"
#include "report.hpp"

#include <sys/utsname.h>

#include <cstdio>
#include <optional>
#include <utility>

namespace demo {
namespace {

std::string kernel_version() {
    utsname names{};
    ::uname(&names);
    return static_cast<const char*>(names.release);
}

std::string title_of(const std::vector<std::string>& paths) {
    if (paths.size() == 2) return fmt::format("{}, {}", paths[0], paths[1]);
    return fmt::format("{}{}", paths.front(), paths.size() > 1 ? ", …" : "");
}

std::optional<EchoClient> connect_echo(const EchoPlace& place) {
    if (place.empty()) return std::nullopt;
    return std::optional<EchoClient>(place);
}

/// The same connection as above, as one among the combinations.
CombinationReport as_combination(const Report& report, double connect_ms) {
    CombinationReport combination = describe_combination(report.address);
    combination.connect_ms = connect_ms;
    combination.call = report.latency.call;
    combination.implicit_copies = report.implicit_copies;
    for (const KindReport& kind : report.kinds) {
        combination.calls += kind.calls;
        combination.different += kind.different;
    }
    return combination;
}

/// All that is done through one connection, which is closed then.
Report measure_one(const ClientOptions& options, const std::vector<FileToRead>& files, Progress& progress) {
    const EchoPlace place =
        options.echo_tcp.empty() ? EchoPlace::beside(options.address) : EchoPlace::tcp(options.echo_tcp);
    const auto [client, connect_ms] = connect_to(options.address);
    std::optional<EchoClient> echo = connect_echo(place);
    Report report;
    report.address = options.address;
    report.guest = options.guest;
    if (!options.guest.empty()) report.kernel = kernel_version();
    report.offset = vmrpc_offset(client.handle(), VMRPC_DEFAULT_HEAP);
    report.files = summarize_files(client, files, progress);
    report.files.title = title_of(options.paths);
    report.kinds = measure_kinds(client, progress);
    report.latency = measure_latency(client, echo ? &*echo : nullptr, progress);
    if (echo) report.latency.echo_kind = place.kind();
    report.implicit_copies = client.stats().implicit_copies;
    if (!options.others.empty()) report.combinations.push_back(as_combination(report, connect_ms));
    return report;
}

Report measure(const ClientOptions& options, const std::vector<FileToRead>& files) {
    Progress progress(options.guest.empty() ? Progress::For::kPeople : Progress::For::kHost);
    Report report = measure_one(options, files, progress);
    for (CombinationReport& other : measure_combinations(options.others, progress))
        report.combinations.push_back(std::move(other));
    return report;
}

}  // namespace

bool run_client(ClientOptions options) {
    if (options.paths.empty()) options.paths.emplace_back("/usr/lib");
    const std::vector<FileToRead> files = select_files(options.paths, options.limit_megabytes * 1'000'000);
    JsonFile json(options.json_path);
    const Report report = measure(options, files);
    fmt::print("{}", report.table());
    if (report.latency.echo_kind.empty())
        fmt::print("No echo to compare with: name the server's with --echo-tcp HOST:PORT.\n");
    std::fflush(stdout);
    json.write(report.json());
    return report.equal();
}

}  // namespace demo
