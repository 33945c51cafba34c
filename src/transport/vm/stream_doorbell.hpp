// Rings by a stream, for a process of a guest: over AF_VSOCK no right but to open a socket, and no IOMMU.
#pragma once

#include "base/clock.hpp"
#include "transport/vm/doorbell.hpp"

#include <memory>
#include <optional>

namespace vmrpc::transport::vm {

/// A stream to the service on the host. Blocks until `deadline` at the longest. Errors: those of
/// open_stream_doorbell().
base::Result<notify::GuardedFd> open_stream(base::Deadline deadline);

/// Rings on a stream that is there, a socket or a port. `segment` says which segment's process this is; none: the other
/// end knows already whose it is, that of memory=ram.
std::unique_ptr<Doorbell> make_stream_doorbell(notify::GuardedFd stream,
                                               const std::optional<layout::Uuid>& segment = std::nullopt);

/// Connects to the service on the host; `segment` says which segment's process this is. Blocks until `deadline` at the
/// longest. Errors: VMRPC_NOT_SUPPORTED (the kernel has no AF_VSOCK: the text names the module), VMRPC_NO_SERVER (the
/// VM has no such device, or no service serves it), VMRPC_TIMED_OUT, VMRPC_OUT_OF_RESOURCES.
base::Result<std::unique_ptr<Doorbell>> open_stream_doorbell(const layout::Uuid& segment, base::Deadline deadline);

}  // namespace vmrpc::transport::vm
