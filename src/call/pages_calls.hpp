// Asking the server for memory, where a client cannot commit it itself: ordinary calls of reserved functions.
#pragma once

#include "call/function.hpp"

#include <vmrpc/vmrpc.h>

#include <cstddef>
#include <cstdint>

namespace vmrpc::call {

/// The argument of both: whole spans of the client's arena.
struct PagesRequest {
    std::uint64_t offset;  // from the segment's base
    std::uint64_t bytes;   // a multiple of 64 KiB, at most kMostPagesBytes
};

/// What one call commits or gives back at most: the server's other clients wait meanwhile.
inline constexpr std::uint64_t kMostPagesBytes = std::uint64_t{32} * 1024 * 1024;

/// The reserved functions' own frames.
const Function& commit_function();
const Function& trim_function();

/// Their handlers: for the connection of the call that this thread serves.
vmrpc_status serve_commit(void* user, void* const* arguments, void* result, char* error_text, std::size_t error_bytes);
vmrpc_status serve_trim(void* user, void* const* arguments, void* result, char* error_text, std::size_t error_bytes);

}  // namespace vmrpc::call
