// The demo across the border of a virtual machine: the server here, the client in a guest that is booted for it.
#pragma once

#include "options.hpp"

namespace demo {

/// Prints what the client found. Returns whether all was equal and the guest ended well. Throws Failure.
bool run_in_guest(const ClientOptions& client, const GuestLimits& limits);

}  // namespace demo
