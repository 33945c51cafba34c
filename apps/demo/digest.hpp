// SHA-256 and the number of lines: what the server computes, and the client once more to check it.
#pragma once

#include "functions.hpp"

#include <cstddef>
#include <span>

namespace demo {

/// Throws Failure if the library for it cannot.
Summary digest(std::span<const std::byte> content);

}  // namespace demo
