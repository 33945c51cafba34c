// The physical floor of a call: two cache lines, one to and one back.
#pragma once

#include "support/floor_lines.hpp"
#include "support/pair.hpp"

namespace vmrpc::bench {

/// Two processes that spin on a line each.
Sides floor_sides(Pause pause);

}  // namespace vmrpc::bench
