// Null calls: the function takes nothing, does nothing, returns nothing.
#pragma once

#include "support/pair.hpp"
#include "support/scratch_folder.hpp"

#include <cstdint>

namespace vmrpc::bench {

enum class Api { kCpp, kC };

/// A client and a server, both with that spin_ns. `folder` must outlive what is returned.
Sides call_sides(ScratchFolder& folder, Api api, std::int64_t spin_ns);

/// A client that has `depth` calls in flight from one thread all the time; both sides spin.
Sides pipelined_sides(ScratchFolder& folder, int depth);

/// A client with two threads that call at the same time, each as call_sides() does. A call's time is that of one of
/// them.
Sides two_thread_sides(ScratchFolder& folder);

}  // namespace vmrpc::bench
