// One VM as libvirt's domain XML has it.
#pragma once

#include "vmrpc/vm/setup.hpp"

#include <string>

namespace tool {

/// A <domain> with nothing in it but what is to be added to the VM's own, and comments that say where.
[[nodiscard]] std::string libvirt_xml(const VmSetup& setup);

}  // namespace tool
