// What the benchmark's client calls.
#pragma once

#include <vmrpc/vmrpc.hpp>

#include <span>

namespace vmrpc::bench {

/// Looks at each pointer.
void look_at_blocks(std::span<char* const> blocks);
/// Frees each block.
void free_blocks(std::span<char* const> blocks);
/// Does in the server's half of the heap what churn() does: returns its CPU time in nanoseconds.
double churn_here(int threads, int batches);

}  // namespace vmrpc::bench
