#include "client.hpp"

#include "echo.hpp"
#include "failure.hpp"
#include "files.hpp"
#include "functions.hpp"
#include "json_file.hpp"
#include "kinds.hpp"
#include "latency.hpp"
#include "progress.hpp"
#include "report.hpp"

#include <sys/utsname.h>

#include <cstdio>
#include <optional>

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
    Progress progress(options.guest.empty() ? Progress::For::kPeople : Progress::For::kHost);
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
