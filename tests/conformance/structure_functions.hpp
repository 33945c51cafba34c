// Functions that walk, change and extend linked structures in the heap. Each returns what it summed before it changed
// anything.
#pragma once

#include "conformance/c_structures/structures.h"
#include "conformance/far_structures.hpp"

#include <array>
#include <cstdint>

namespace conformance {

/// At equal addresses, with the plain C functions: multiplies by 10, adds 1000 and 2000.
std::int64_t change_list(list* changed);
/// Removes the key 3, puts 1000 to 1099, each with the value 1.
std::int64_t change_tree(tree* changed);
/// Removes "key 3", puts "new 0" to "new 99", each with the value 1; the table grows.
std::int64_t change_hash(hash* changed);
/// The same at any addresses, with vmrpc_offset, less the removing.
std::int64_t change_far_list(list* changed);
std::int64_t change_far_tree(tree* changed);
std::int64_t change_far_hash(hash* changed);
/// With Ptr: multiplies the list by 10, puts 1000.
std::array<std::int64_t, 3> change_far_structures(vmrpc::Ptr<FarStructures> changed);
/// Frees of the server's that failed.
std::int32_t failed_frees();

}  // namespace conformance
