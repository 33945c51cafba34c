// The server that the conformance suite calls.
#pragma once

#include <vmrpc/vmrpc.hpp>

#include <string>

namespace conformance {

/// Add the functions of structure_functions.hpp, container_functions.hpp, heap_functions.hpp and
/// callback_functions.hpp.
void add_structures(vmrpc::Server& server);
void add_containers(vmrpc::Server& server);
void add_heaps(vmrpc::Server& server);
void add_callbacks(vmrpc::Server& server);

/// Serves every function of functions.hpp and of these at `address`. Trusts clients that trust it. Has two workers.
vmrpc::Server make_server(const std::string& address, vmrpc::ServeOptions options = {});

}  // namespace conformance
