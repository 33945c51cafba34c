// vmrpc-demo: a client calls a server, in another process or on the other side of a virtual machine's wall, with the
// data in place.
#include "client.hpp"
#include "guest_demo.hpp"
#include "options.hpp"
#include "server.hpp"
#include "server_process.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <cstdlib>
#include <exception>

namespace {

int run(int argc, char** argv) {
    CLI::App app(
        "Shows vmrpc at work: real files, three kinds of data, and round trips.\n"
        "Without a command and an address it starts a server of its own, boots a virtual machine, runs the client in "
        "it, "
        "and ends both. FILES of this machine are copied into it, below /host.");
    demo::ClientOptions client;
    demo::ServeOptions serve;
    demo::GuestLimits limits;
    demo::add_options(app, client);
    demo::add_options(app, limits);
    bool local = false;
    app.add_flag("--local", local, "client and server are two processes of this machine")->excludes("--guest-limit");
    CLI::App* client_command = app.add_subcommand("client", "only the client, of the server at --address");
    demo::add_options(*client_command, client);
    client_command->get_option("--address")->required();
    CLI::App* serve_command = app.add_subcommand("serve", "only the server, until SIGINT or SIGTERM");
    demo::add_options(*serve_command, serve);
    CLI11_PARSE(app, argc, argv);

    if (serve_command->parsed()) {
        demo::serve(serve);
        return EXIT_SUCCESS;
    }
    if (!client.address.empty()) return demo::run_client(client) ? EXIT_SUCCESS : EXIT_FAILURE;
    if (!local) return demo::run_in_guest(client, limits) ? EXIT_SUCCESS : EXIT_FAILURE;
    const demo::ServerProcess server(demo::ServerProcess::Clients::kHere);
    client.address = server.address();
    return demo::run_client(client) ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "vmrpc-demo: %s\n", failure.what());
        return EXIT_FAILURE;
    }
}
