// What the benchmark's client calls.
#pragma once

#include <vmrpc/vmrpc.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace vmrpc::bench {

template <std::size_t kCount>
struct Words {
    std::array<std::uint64_t, kCount> all;
};

/// The sum of the words, however they come.
std::uint64_t sum_value_256(Words<32> words);
std::uint64_t sum_value_4096(Words<512> words);
std::uint64_t sum_words(std::span<const std::uint64_t> words);

/// Looks at each pointer.
void look_at_blocks(std::span<char* const> blocks);
/// Frees each block.
void free_blocks(std::span<char* const> blocks);
/// Reads a byte in each page of the client's half of the heap, writes one in each page of the server's, and hands that
/// over.
Array<char> touch_halves(std::span<const char> clients);
/// Does in the server's half of the heap what churn() does: returns its CPU time in nanoseconds.
double churn_here(int threads, int batches);

}  // namespace vmrpc::bench
