#include "options.hpp"

#include <CLI/CLI.hpp>

namespace demo {

void add_options(CLI::App& app, ClientOptions& options) {
    app.add_option("--address", options.address, "call the server at this address, e.g. local:/run/demo.sock");
    app.add_option("--json", options.json_path, "also write the results to this file");
    app.add_option("--echo-tcp", options.echo_tcp,
                   "compare with the server's TCP echo at HOST:PORT, HOST being an IPv4 address");
    app.add_option("--limit-mb", options.limit_megabytes, "take so many MB of files below folders")
        ->capture_default_str();
    app.add_option(
        "FILES", options.paths,
        "files, or folders to take every regular file below of (/usr/lib; in a guest its kernel's modules and "
        "/proc/kallsyms)");
    // Hidden: how the demo starts its own client in a guest.
    app.add_option("--guest", options.guest)->group("");
    app.add_option("--other", options.others)->group("")->allow_extra_args(false);
}

void add_options(CLI::App& app, ServeOptions& options) {
    app.add_option("--address", options.address, "where to serve, e.g. local:/run/demo.sock")->required();
    app.add_option("--echo-tcp", options.echo_tcp,
                   "serve the echo at this port of 127.0.0.1; 0: any, which is printed");
}

void add_options(CLI::App& app, GuestLimits& limits) {
    app.add_option("--guest-limit", limits.seconds, "end a guest that has not ended after so many seconds")
        ->check(CLI::Range(0.1, 1e6))
        ->capture_default_str();
}

}  // namespace demo
