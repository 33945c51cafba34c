// Puts together what a guest needs on its root file system.
#pragma once

#include "guest.hpp"

#include <filesystem>

namespace vmrpc::vm {

// build/vm/cloud, or what the options or VMRPC_VM_DIR say.
std::filesystem::path kernel_folder(const GuestOptions& options);

// The kernel to boot. Throws std::runtime_error with the remedy where it has not been fetched.
std::filesystem::path find_kernel(const GuestOptions& options);

// A descriptor of an initramfs with guest_init, the modules, files, programs, their libraries and the configuration.
// The caller closes it. Throws std::runtime_error if anything is missing.
int build_image(const GuestOptions& options);

}  // namespace vmrpc::vm
