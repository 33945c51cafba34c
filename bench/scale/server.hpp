// The server of the scale benchmark, and the functions that it has.
#pragma once

#include "support/child.hpp"
#include "support/must.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace vmrpc::bench {

void nothing();
void sleep_us(std::int32_t duration_us);

/// Serves at `address` until the process is ended.
void serve_scale(const std::string& address, const Report& report);
/// So many connections, each of which has made a call.
std::vector<Client> connect_all(const std::string& address, int count);
/// Lets this process open as many files as it may: each connection takes some.
void raise_file_limit();

}  // namespace vmrpc::bench
