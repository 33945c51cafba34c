// The RAM of a VM as a file of the host, FOLDER/NAME.ram: QEMU's memory-backend-file with share=on. What lies in it is
// all that the guest has.
#pragma once

#include "base/result.hpp"
#include "notify/fork_guard.hpp"

#include <cstdint>
#include <string>

namespace vmrpc::transport::vm {

inline constexpr const char* kRamSuffix = ".ram";

struct RamFile {
    notify::GuardedFd file;
    std::uint64_t bytes = 0;
};

/// Makes the file, of that size, with no memory taken yet. Errors: VMRPC_ADDRESS_IN_USE (it is there already),
/// VMRPC_NOT_PERMITTED, VMRPC_OUT_OF_RESOURCES, VMRPC_NO_SERVER (no such folder).
base::Status make_ram_file(const std::string& path, std::uint64_t bytes, unsigned mode = 0660);

/// Errors: VMRPC_NO_SERVER (it is not there), VMRPC_NOT_VMRPC (no regular file, or empty), VMRPC_NOT_PERMITTED.
base::Result<RamFile> open_ram_file(const std::string& path);

}  // namespace vmrpc::transport::vm
