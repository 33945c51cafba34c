// One VM as QEMU's command line has it.
#pragma once

#include "vmrpc/report.hpp"
#include "vmrpc/vm/setup.hpp"

#include <string>
#include <vector>

namespace tool {

/// Words of the command line, an option and its value in turn. Throws Failure: the kernel's vsock needs a --cid.
[[nodiscard]] std::vector<std::string> qemu_args(const VmSetup& setup);
/// What these words do not say: what the rest of the VM must have, a sentence each.
[[nodiscard]] std::vector<std::string> qemu_needs(const VmSetup& setup);

/// The words for a shell: a line for each option, nothing quoted, so that $(...) takes it as well. Throws Failure where
/// that cannot be: a path has a character that a shell does not leave alone.
[[nodiscard]] std::string as_shell_lines(const std::vector<std::string>& words);
/// Everything that is known of it.
[[nodiscard]] Report as_json(const VmSetup& setup);

}  // namespace tool
