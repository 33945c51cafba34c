// Network set-up in the guest, without any program.
#pragma once

#include <string>

namespace vmrpc::vm {

// Brings loopback up, and eth0 with `address` in a /24 unless that is empty. Returns what went wrong, empty if nothing.
std::string start_network(const std::string& address);

}  // namespace vmrpc::vm
