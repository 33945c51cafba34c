// The server that the conformance suite calls.
#pragma once

#include <vmrpc/vmrpc.hpp>

#include <string>

namespace conformance {

/// Serves every function of functions.hpp at `address`. Trusts clients that trust it.
vmrpc::Server make_server(const std::string& address, vmrpc::ServeOptions options = {});

}  // namespace conformance
