// Blocks that the client allocates and either side frees.
#pragma once

#include "heap/allocators.hpp"

namespace vmrpc::bench {

inline constexpr int kHandedBlocks = 1000;

/// A call is one block freed by who allocated it; allocating is not counted. `folder` must outlive it.
Sides local_free_sides(ScratchFolder& folder);

/// A call is one block freed by the other side. Its owner's part counts, which comes with a later allocation: what is
/// compared is blocks allocated, shown to the server in one call, and freed by the client, with blocks allocated and
/// freed by the server in one call. What the second takes longer, and a local free, is a remote one. `folder` must
/// outlive it.
Sides remote_free_sides(ScratchFolder& folder);

}  // namespace vmrpc::bench
