// The same call with its argument in different places.
#pragma once

#include "support/pair.hpp"
#include "support/scratch_folder.hpp"

#include <cstddef>

namespace vmrpc::bench {

/// Where the argument is when the call is made.
enum class Place {
    kFrame,     // passed by value: it travels in the call's frame
    kOutside,   // on the thread's own stack, passed as a span: the library copies it into the heap
    kStack,     // on the thread's RPC stack, passed as a span
    kBorrowed,  // the same, and the function runs on that stack, too, at its caller's frame
    kHeap,      // in a block of the RPC heap, allocated for the call and freed after it
};

/// A call is an argument of `bytes` bytes written by the client, passed, summed by the server, and its sum checked.
/// Both sides spin and trust each other. Requires that `bytes` is 256, 4096 or 65,536, and of a
/// value not the last, which is more than a frame holds with the result. `folder` must outlive it.
Sides argument_sides(ScratchFolder& folder, Place place, std::size_t bytes);

}  // namespace vmrpc::bench
