// Calls through the library: a server on the host, a client in the guest. Both spin without end, or never.
#pragma once

#include "support/measure.hpp"

#include <vmrpc/vmrpc.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace vmrpc::bench {

/// The host's side, until it is ended; `ready` is called when it can be connected to. Throws std::runtime_error.
void serve_calls(const std::string& address, std::int64_t spin, std::uint64_t heap_bytes,
                 const std::function<void()>& ready);

/// A connection. `spin` as in vmrpc.h, here and above. Throws std::runtime_error.
Client join(const std::string& address, std::int64_t spin);

/// The guest's side; each connects anew, and spins where it is not told. All throw std::runtime_error.
Figures null_call(const Effort& effort, const std::string& address, std::int64_t spin);
/// Connections made; closing them is not counted.
Figures connect_call(const Effort& effort, const std::string& address);

/// Data that is built in the RPC heap for each call, summed by the server where it lies, and freed.
inline constexpr std::size_t kStringBytes = 10;  // with the NUL
Figures bytes_call(const Effort& effort, const std::string& address, std::size_t length);
Figures fixed_call(const Effort& effort, const std::string& address, std::size_t length);
Figures variable_call(const Effort& effort, const std::string& address, std::size_t length);

}  // namespace vmrpc::bench
