// What the command line says.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace CLI {  // NOLINT(readability-identifier-naming): the name is the library's
class App;
}

namespace demo {

struct ClientOptions {
    std::string address;   // empty: start a server for this run
    std::string echo_tcp;  // HOST:PORT of the server's echo; empty: its Unix socket, if the address is local
    std::string json_path;
    std::uint64_t limit_megabytes = 64;
    std::vector<std::string> paths;   // empty: those that are there in any case
    std::vector<std::string> others;  // addresses of the same server, for what is compared with `address`
    std::string guest;                // what runs the guest that this client is in; empty: it is in none
};

/// Of a client in a guest that is booted for this run.
struct GuestLimits {
    double seconds = 300;  // from start to end
};

struct ServeOptions {
    std::string address;
    std::string echo_tcp;  // port of 127.0.0.1, 0 for any; empty: a Unix socket, if the address is local
};

/// The options of a client, which work for the program as a whole too.
void add_options(CLI::App& app, ClientOptions& options);
void add_options(CLI::App& app, ServeOptions& options);
void add_options(CLI::App& app, GuestLimits& limits);

}  // namespace demo
