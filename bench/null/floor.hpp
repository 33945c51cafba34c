// The physical floor of a call: two cache lines, one to and one back.
#pragma once

#include "support/pair.hpp"

namespace vmrpc::bench {

enum class Pause { kNo, kYes };

/// Two processes that spin on a line each, and answer a number with the same number. With PAUSE in the spin loop or
/// without: which is faster depends on the processor, and the better one counts as the floor.
Sides floor_sides(Pause pause);

}  // namespace vmrpc::bench
