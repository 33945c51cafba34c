// Who may use the device that the broker holds.
#pragma once

#include "base/result.hpp"
#include "transport/transport.hpp"
#include "transport/vm/doorbell/vfio_binding.hpp"

#include <string>

namespace vmrpc::doorbell {

/// A client may, if it is root or this process's own user, or if `proof` (-1: none) is a descriptor, open for reading
/// and writing, of a DAX device, or of the resource2 of the device at this PCI address. Nothing is read from it.
/// Errors: VMRPC_NOT_PERMITTED.
base::Status check_client(const transport::Peer& client, int proof, const std::string& address,
                          const transport::vm::VfioPlaces& places);

}  // namespace vmrpc::doorbell
