// The virtio-serial ports of a guest that are ours: an open port is a stream to the service on the host.
#pragma once

#include "base/clock.hpp"
#include "notify/fork_guard.hpp"
#include "transport/vm/doorbell.hpp"

#include <memory>
#include <string>
#include <vector>

namespace vmrpc::transport::vm {

/// Where a guest's kernel has its ports.
struct PortPlaces {
    std::string ports = "/sys/class/virtio-ports";
    std::string devices = "/dev";
};

/// The ports of this guest named vmrpc.N, as the kernel calls them (vport1p1), sorted.
std::vector<std::string> serial_ports(const PortPlaces& places = {});

/// Opens one that no other process has and at whose other end a service is, and reads away what was meant for the
/// process before. Waits for one until `deadline` at the longest. Errors: VMRPC_NO_SERVER (there is no such port; no
/// service is at the other end), VMRPC_NOT_PERMITTED (this user may not open it), VMRPC_OUT_OF_RESOURCES (other
/// processes have all of them).
base::Result<notify::GuardedFd> open_serial_port(base::Deadline deadline, const PortPlaces& places = {});

/// Rings through such a port; `segment` says which segment's process this is. Blocks and errors as open_serial_port().
base::Result<std::unique_ptr<Doorbell>> open_serial_doorbell(const layout::Uuid& segment, base::Deadline deadline);

}  // namespace vmrpc::transport::vm
