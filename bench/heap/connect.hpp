// Connections that are made and not used.
#pragma once

#include "heap/allocators.hpp"

namespace vmrpc::bench {

/// A call is a connection made, with the default heap, which nobody touches. Resident bytes are what one takes in both
/// processes together. `folder` must outlive it.
Sides connect_sides(ScratchFolder& folder);

}  // namespace vmrpc::bench
