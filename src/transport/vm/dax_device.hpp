// Memory that a guest's kernel shows as /dev/daxN.M: write-back, of a virtio-pmem or nvdimm device.
#pragma once

#include "base/result.hpp"
#include "notify/fork_guard.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace vmrpc::transport::vm {

struct DaxDevice {
    std::string name;  // "dax0.0"
    notify::GuardedFd memory;
    std::uint64_t bytes = 0;
};

/// The names of all dax devices of this system, sorted; those of folder VMRPC_DAX_DEVICES_FOR_TESTS, if it is set.
std::vector<std::string> dax_devices();

enum class DaxUse {
    kConnect,  // there must be a segment in it
    kServe,    // there need not
};

/// Opens the device of this name, or, if that is empty, the only one (that holds a segment, to connect). Errors:
///   VMRPC_BAD_ADDRESS     no such name; none was named and several hold segments (the text lists them)
///   VMRPC_NO_SERVER       there is no such device (the text says which kernel modules are missing); none holds a
///                         segment: no server has begun to serve this VM
///   VMRPC_NOT_PERMITTED   this user may not open it
base::Result<DaxDevice> open_dax(const std::string& name, DaxUse use = DaxUse::kConnect);

}  // namespace vmrpc::transport::vm
