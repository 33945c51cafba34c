// Several threads that allocate and free at once.
#pragma once

#include "heap/allocators.hpp"
#include "support/pair.hpp"

#include <cstdint>

namespace vmrpc::bench {

/// So many blocks are allocated, then freed, in each batch: more than one, so that it is not always the same.
inline constexpr int kChurnBlocks = 128;

/// `threads` threads make `batches` batches each, anywhere. Returns the CPU time that these took, of all threads
/// together, in nanoseconds.
double churn(const RpcHeap& heap, int threads, int batches);
double churn(const Mimalloc& heap, int threads, int batches);

/// The figures' times are CPU time of an allocation and a free, of `threads` threads: with the RPC heap as many on each
/// side. `folder` must outlive it.
Sides churn_sides(ScratchFolder& folder, Kind kind, int threads);

}  // namespace vmrpc::bench
