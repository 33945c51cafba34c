// A block allocated and freed, again and again.
#pragma once

#include "heap/allocators.hpp"

#include <cstddef>

namespace vmrpc::bench {

/// A call is one allocation of `bytes` bytes and its free. `folder` must outlive it.
Sides pair_sides(ScratchFolder& folder, Kind kind, std::size_t bytes);

}  // namespace vmrpc::bench
