// Many connections that all call.
#pragma once

#include "support/pair.hpp"
#include "support/scratch_folder.hpp"

namespace vmrpc::bench {

/// `count` clients, each with a thread that calls as fast as it can: the time of a batch, divided by all calls made in
/// it. What they reach together is one call in that time.
Sides busy_sides(ScratchFolder& folder, int count);
/// One client's calls, while another one calls from `flooders` threads at once.
Sides flooded_sides(ScratchFolder& folder, int flooders);
/// A call each time that nothing happened for effort.idle.
Sides after_idle_sides(ScratchFolder& folder);

}  // namespace vmrpc::bench
