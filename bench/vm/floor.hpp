// The floor of a call from a guest: two cache lines of a device's memory, one to the host and one back.
#pragma once

#include "support/floor_lines.hpp"
#include "support/measure.hpp"

#include <cstddef>

namespace vmrpc::bench {

/// Of the file whose device has these lines, and of what is mapped of it.
inline constexpr std::size_t kFloorBytes = std::size_t{16} << 20;
inline constexpr std::size_t kFloorMapped = 2 * sizeof(FloorLines);

/// The host's side, without end. Each kind has lines of its own.
[[noreturn]] void floor_echo(std::byte* memory, Pause pause);

/// The guest's side.
Figures floor_call(const Effort& effort, std::byte* memory, Pause pause);

}  // namespace vmrpc::bench
