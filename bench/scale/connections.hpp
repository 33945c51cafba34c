// Many connections, few of them in use.
#pragma once

#include "support/pair.hpp"
#include "support/scratch_folder.hpp"

namespace vmrpc::bench {

/// Calls on one of `count` connections; the others are idle.
Sides hot_sides(ScratchFolder& folder, int count);
/// `count` idle connections: p50 is the CPU time that the server burns in a second; resident bytes are what one of them
/// takes in the server, page tables too, with all memory that it shares with its client; client bytes are what it takes
/// in the client besides, page tables too.
Sides idle_sides(ScratchFolder& folder, int count);

}  // namespace vmrpc::bench
