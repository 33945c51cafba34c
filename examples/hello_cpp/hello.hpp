// The functions of the hello server, for both sides. hello_c/hello.h declares the same for C.
#pragma once

#include <vmrpc/vmrpc.hpp>

#include <cstdint>
#include <span>

/// The mean of values that are read where they lie.
double mean(std::span<const double> values);
/// Adds `step` to `counter`.
void advance(std::int64_t& counter, std::int64_t step);
/// The first `count` square numbers, in an array that the caller owns.
vmrpc::Array<std::uint64_t> squares(std::uint32_t count);
