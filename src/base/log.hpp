// The library's own log: spdlog to stderr, warnings and worse unless VMRPC_LOG says otherwise.
#pragma once

#include <spdlog/spdlog.h>

namespace vmrpc::base {

/// The logger "vmrpc". Level from the environment variable VMRPC_LOG (trace, debug, info, warn, error, off; default
/// warn). Any thread.
spdlog::logger& log();

}  // namespace vmrpc::base
