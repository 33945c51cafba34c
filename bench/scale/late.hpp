// Calls that are given up at their time limit.
#pragma once

#include "support/pair.hpp"
#include "support/scratch_folder.hpp"

namespace vmrpc::bench {

/// How far past its limit such a call returns.
Sides late_sides(ScratchFolder& folder);

}  // namespace vmrpc::bench
