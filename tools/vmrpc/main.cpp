// vmrpc: looks into a server that runs, and helps who runs VMs.
#include "vmrpc/doctor/command.hpp"
#include "vmrpc/report.hpp"
#include "vmrpc/vm/commands.hpp"
#include "vmrpc/watched.hpp"

#include <CLI/CLI.hpp>

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <thread>

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

struct Options {
    std::string address;
    double timeout_s = 5;
    double interval_s = 1;
    int rounds = 0;  // 0: until interrupted
    bool json = false;
    bool prometheus = false;

    [[nodiscard]] std::chrono::nanoseconds timeout() const {
        return std::chrono::nanoseconds(static_cast<std::int64_t>(timeout_s * 1e9));
    }
};

volatile std::sig_atomic_t interrupted = 0;

void print(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
}

void stat(const Options& options) {
    const tool::Report report = tool::Watched(options.address, options.timeout()).report();
    if (options.json)
        print(report.dump(2) + '\n');
    else
        print(options.prometheus ? tool::as_prometheus(report) : tool::as_tables(report));
}

/// Returns early when interrupted.
void wait_until(steady_clock::time_point until) {
    while (interrupted == 0 && steady_clock::now() < until) std::this_thread::sleep_for(milliseconds(20));
}

void top(const Options& options) {
    std::signal(SIGINT, [](int) { interrupted = 1; });
    std::signal(SIGTERM, [](int) { interrupted = 1; });
    const bool on_terminal = ::isatty(STDOUT_FILENO) == 1;
    const tool::Watched watched(options.address, options.timeout());
    tool::Report before = watched.report();
    auto then = steady_clock::now();
    for (int round = 0; options.rounds == 0 || round < options.rounds; ++round) {
        wait_until(then + milliseconds(static_cast<std::int64_t>(options.interval_s * 1'000)));
        if (interrupted != 0) break;
        tool::Report after = watched.report();
        const auto now = steady_clock::now();
        const std::chrono::duration<double> passed = now - then;
        // On a terminal each table takes the place of the one before.
        print((on_terminal ? "\033[H\033[2J" : "") + tool::as_rates(before, after, passed.count()));
        before = std::move(after);
        then = now;
    }
}

void add_common(CLI::App& command, Options& options) {
    command.add_option("address", options.address, "the server's, as its clients have it: local:PATH")->required();
    command.add_option("--timeout", options.timeout_s, "seconds to wait for the server")
        ->check(CLI::Range(0.001, 3600.0))
        ->capture_default_str();
}

int run(int argc, char** argv) {
    CLI::App app("Looks into a vmrpc server that runs (its own user, and root, may), and connects virtual machines.",
                 "vmrpc");
    app.require_subcommand(1);
    Options options;
    CLI::App* const stat_command = app.add_subcommand("stat", "what it has counted since it began");
    add_common(*stat_command, options);
    auto* const json = stat_command->add_flag("--json", options.json, "as JSON");
    stat_command->add_flag("--prometheus", options.prometheus, "in the Prometheus text format")->excludes(json);
    CLI::App* const top_command = app.add_subcommand("top", "what it does now, anew every second, until Ctrl-C");
    add_common(*top_command, options);
    top_command->add_option("--interval", options.interval_s, "seconds between two tables")
        ->check(CLI::Range(0.1, 3600.0))
        ->capture_default_str();
    top_command->add_option("--rounds", options.rounds, "end after so many tables; 0: never")
        ->check(CLI::NonNegativeNumber);
    stat_command->callback([&options] { stat(options); });
    top_command->callback([&options] { top(options); });
    tool::add_vm_commands(app);
    int exit_code = EXIT_SUCCESS;
    tool::add_doctor_command(app, exit_code);
    CLI11_PARSE(app, argc, argv);
    return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "vmrpc: %s\n", failure.what());
        return EXIT_FAILURE;
    }
}
