// What the server and its clients call: the server's function, and the client's, which it calls while it works.
#pragma once

#include <vmrpc/vmrpc.hpp>

#include <cstdint>
#include <span>

// The server's: how many of the values `holds` is true of. The caller says what that is, with any callable.
std::uint64_t count_if(std::span<const double> values, vmrpc::Callback<bool(double)> holds);

// The client's: how far the server has come.
void progress(std::uint64_t done, std::uint64_t all);
