// The last failure of each thread, for the C API.
#pragma once

#include "base/result.hpp"

#include <vmrpc/status.h>

namespace vmrpc {

/// Remembers the error as this thread's last, and returns its status.
vmrpc_status failed(base::Error error);
/// The status of a result; remembers its error.
inline vmrpc_status status_of(base::Status status) {
    return status ? VMRPC_OK : failed(std::move(status).error());
}

}  // namespace vmrpc
