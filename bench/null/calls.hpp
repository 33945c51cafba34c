// Null calls: the function takes nothing, does nothing, returns nothing.
#pragma once

#include "support/pair.hpp"
#include "support/scratch_folder.hpp"

#include <cstdint>

namespace vmrpc::bench {

enum class Api { kCpp, kC };

/// A client and a server, both with that spin_ns. `folder` must outlive what is returned.
Sides call_sides(ScratchFolder& folder, Api api, std::int64_t spin_ns);

}  // namespace vmrpc::bench
