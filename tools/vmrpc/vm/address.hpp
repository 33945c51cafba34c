// The address of a service for VMs, as the operator's commands take it: vm:FOLDER[?memory=M&ring=R&processes=N].
#pragma once

#include "transport/vm/address.hpp"

#include <optional>
#include <string>

namespace tool {

using VmMemory = vmrpc::transport::vm::Memory;  // never kBest here
using VmRing = vmrpc::transport::vm::Ring;      // likewise

struct VmAddress {
    std::string folder;  // as it was written; on the guest's side, a device or empty
    VmMemory memory = VmMemory::kDax;
    VmRing ring = VmRing::kDoorbell;    // with memory=ram it is vsock, as no other can be
    std::optional<unsigned> processes;  // if the address says it
};

/// What it leaves open is what an operator would choose. Throws Failure: it is no such address, or asks for what there
/// is not.
[[nodiscard]] VmAddress parse_vm_address(const std::string& text);

/// Whether it names a device, as a guest's address does: dax0.0, 0000:00:05.0.
[[nodiscard]] bool is_device_name(const std::string& text);

/// Throws Failure, unless a VM may be called so: the name becomes part of files' names and of QEMU's ids. `folder`,
/// absolute, is where its sockets will be.
void check_vm_name(const std::string& name, const std::string& folder);

}  // namespace tool
