// What a guest gets for the demo: the client's program, files to read, a device, a network.
#pragma once

#include "guest.hpp"
#include "options.hpp"
#include "server_process.hpp"

#include <string>

namespace demo {

/// What can be known before anything is started. Throws Failure: QEMU or the kernel is missing, options that do not
/// fit.
void check_guest(const ClientOptions& client);

/// Everything but what to do with its output. `run_by` is what the client says of its guest. Throws Failure.
vmrpc::vm::GuestOptions plan_guest(const ClientOptions& client, const GuestLimits& limits, const ServerProcess& server,
                                   const std::string& run_by);

/// Where the client's JSON arrives here.
std::string json_path(const ServerProcess& server);

}  // namespace demo
