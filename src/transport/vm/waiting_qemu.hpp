// A QEMU that listens for its service, as its chardev with server=on,wait=on does, so that the VM may be started first:
// its socket is called as the service's own would be, with kWaitingSuffix behind.
#pragma once

#include "notify/fork_guard.hpp"

#include <string>

namespace vmrpc::transport::vm {

inline constexpr const char* kWaitingSuffix = ".qemu";

/// Connects to the QEMU that waits at this path, if one does, and removes the file: QEMU goes on to listen when a
/// service has ended, but takes no second one's doorbell nor rings. Invalid: none waits, or it has not begun to. Does
/// not block.
notify::GuardedFd connect_to_waiting_qemu(const std::string& path);

}  // namespace vmrpc::transport::vm
