// The commands for who runs VMs: `vmrpc qemu-args` and `vmrpc libvirt-xml`.
#pragma once

#include <CLI/CLI.hpp>

namespace tool {

/// Adds them to the program; they run when they are parsed. They throw Failure.
void add_vm_commands(CLI::App& app);

}  // namespace tool
