// Functions about heaps that a side sets up.
#pragma once

#include "conformance/functions.hpp"

#include <cstdint>

namespace conformance {

/// The server's side sets a heap up for the caller's connection; its number, or the status negated if that fails.
std::int64_t set_up_servers_heap(std::uint64_t bytes);
/// The status of ending one.
std::int32_t destroy_servers_heap(std::uint32_t heap);
/// In a heap of the server's.
vmrpc::Array<std::int64_t> iota_in_heap(std::int64_t count, std::uint32_t heap);
/// Adds a node of a heap of the server's to the end.
void append_in_heap(Node* head, std::int64_t value, std::uint32_t heap);
/// What vmrpc_offset says in the server.
std::int64_t servers_offset(std::uint32_t heap);
/// Sums a list whose nodes lie in `heap`, with vmrpc_offset.
std::int64_t sum_with_offset(vmrpc::Ptr<Node> head, std::uint32_t heap);
/// Writes 1 to the word, waits until it is 2, then sums.
std::int64_t sum_when_told(vmrpc::Ptr<std::uint32_t> word, std::span<const std::int64_t> values);
/// Blocks that live in a heap of the server's; -1 if there is none.
std::int64_t blocks_in_heap(std::uint32_t heap);

}  // namespace conformance
