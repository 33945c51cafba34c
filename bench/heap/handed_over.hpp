// Blocks that the client allocates and either side frees.
#pragma once

#include "heap/allocators.hpp"

namespace vmrpc::bench {

inline constexpr int kRemoteBlocks = 1000;
inline constexpr std::size_t kRemoteBytes = 256;

/// A call is one block freed by who allocated it; allocating is not counted. `folder` must outlive them.
Sides local_free_sides(ScratchFolder& folder);
/// A call is one block allocated by the client, and freed by it or by the server, which gets the pointers of
/// kRemoteBlocks of them in one call, in both cases. What the one costs more than the other is what a remote free costs
/// more than a local one, with the owner's part of it.
Sides handed_over_sides(ScratchFolder& folder, bool server_frees);

}  // namespace vmrpc::bench
