// What a call costs at least if both sides sleep: two futexes, one to and one back.
#pragma once

#include "support/pair.hpp"

namespace vmrpc::bench {

/// Two processes that always go to sleep in the kernel to wait for the other.
Sides futex_sides();

}  // namespace vmrpc::bench
