// The demo's client. What it consists of: files.hpp, kinds.hpp, latency.hpp.
#pragma once

#include "options.hpp"

namespace demo {

/// Calls the server at options.address and prints what came of it. Returns whether all was equal. Throws Failure.
bool run_client(ClientOptions options);

}  // namespace demo
