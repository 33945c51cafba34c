#include "client.hpp"

#include "echo.hpp"
#include "failure.hpp"
#include "files.hpp"
#include "functions.hpp"
#include "kinds.hpp"
#include "latency.hpp"
#include "progress.hpp"
#include "report.hpp"

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <optional>

namespace demo {
namespace {

/// Opened before the work, so that a path that cannot be written is known at once.
std::optional<std::ofstream> open_json(const std::string& path) {
    if (path.empty()) return std::nullopt;
    std::ofstream file(path);
    if (!file) throw system_failure(fmt::format("cannot write {}", path), errno);
    return file;
}

vmrpc::Client connect(const std::string& address) {
    auto client =
        must(vmrpc::Client::connect(address, {.trust_peer = true}), fmt::format("cannot connect to {}", address));
    must(client.require<summarize, sum_bytes, sum_fixed, sum_variable, nothing>(),
         fmt::format("the server at {} is not this demo's", address));
    return client;
}

std::optional<EchoClient> connect_echo(const EchoPlace& place) {
    if (place.empty()) return std::nullopt;
    return std::optional<EchoClient>(place);
}

Report measure(const ClientOptions& options, const std::vector<FileToRead>& files) {
    const EchoPlace place =
        options.echo_tcp.empty() ? EchoPlace::beside(options.address) : EchoPlace::tcp(options.echo_tcp);
    const vmrpc::Client client = connect(options.address);
    std::optional<EchoClient> echo = connect_echo(place);
    Progress progress;
    Report report;
    report.address = options.address;
    report.offset = vmrpc_offset(client.handle(), VMRPC_DEFAULT_HEAP);
    report.files = summarize_files(client, files, progress);
    report.files.title = fmt::format("{}{}", options.paths.front(), options.paths.size() > 1 ? ", …" : "");
    report.kinds = measure_kinds(client, progress);
    report.latency = measure_latency(client, echo ? &*echo : nullptr, progress);
    if (echo) report.latency.echo_kind = place.kind();
    report.implicit_copies = client.stats().implicit_copies;
    return report;
}

}  // namespace

bool run_client(const ClientOptions& options) {
    const std::vector<FileToRead> files = select_files(options.paths, options.limit_megabytes * 1'000'000);
    std::optional<std::ofstream> json = open_json(options.json_path);
    const Report report = measure(options, files);
    fmt::print("{}", report.table());
    if (report.latency.echo_kind.empty())
        fmt::print("No echo to compare with: name the server's with --echo-tcp HOST:PORT.\n");
    std::fflush(stdout);
    if (json && !(*json << report.json() << std::flush))
        throw Failure(fmt::format("cannot write {}: is there room on that disk?", options.json_path));
    return report.equal();
}

}  // namespace demo
