// A connection to the demo's server.
#pragma once

#include <vmrpc/vmrpc.hpp>

#include <string>

namespace demo {

struct Connection {
    vmrpc::Client client;
    double connect_ms = 0;  // how long connecting took
};

/// Connects, each side trusting the other, and asks whether the server is the demo's. Throws Failure.
Connection connect_to(const std::string& address);

}  // namespace demo
