// The demo's server.
#pragma once

#include "options.hpp"

namespace demo {

/// Serves until SIGINT or SIGTERM; a line on standard output says when it does. Throws Failure.
void serve(const ServeOptions& options);

}  // namespace demo
