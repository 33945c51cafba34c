// Plain C data with pointers in it, built block by block.
#pragma once

#include "heap/allocators.hpp"

namespace vmrpc::bench {

enum class Timed { kBuilding, kBuildingAndFreeing };

/// A call is a list of 100,000 structs with a string of 10 bytes each. `folder` must outlive it.
Sides list_sides(ScratchFolder& folder, Kind kind, Timed timed);
/// The same in a monotonic buffer of the RPC heap, which is freed as a whole.
Sides monotonic_list_sides(ScratchFolder& folder, Timed timed);

}  // namespace vmrpc::bench
