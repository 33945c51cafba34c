// What the server of life_test serves to the programs in its guests.
#pragma once

#include <vmrpc/vmrpc.hpp>

#include <cstdint>
#include <span>

namespace life {

std::int64_t add(std::int64_t a, std::int64_t b);
/// The same on a worker, and not at once.
std::int64_t slow_add(std::int64_t a, std::int64_t b, std::uint32_t after_ms);
std::uint64_t sum(std::span<const std::uint64_t> values);
/// Counts, until the next noted().
void note();
std::uint64_t noted();
/// Asks once while the VM is paused, and once after. The second answer, or the error's status below 0.
std::int32_t ask(vmrpc::Callback<std::int32_t(std::int32_t)> question);
/// Connections of this server.
std::uint32_t open_count();
std::uint32_t closed_count();
/// How far the test has come.
std::uint32_t phase();

}  // namespace life
