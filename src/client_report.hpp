// What a client says of itself to its own program.
#pragma once

#include "call/client_connection.hpp"

#include <string>

namespace vmrpc {

/// As JSON; docs/STATS.md lists the keys. Any thread. Throws std::bad_alloc.
std::string report_of(call::ClientConnection& client);

}  // namespace vmrpc
