// What the C API's handles point to: the first word tells them apart. Using a closed handle is the caller's error.
#pragma once

#include <vmrpc/vmrpc.h>

#include <atomic>
#include <cstdint>

namespace vmrpc::call {

enum class HandleKind : std::uint64_t {  // of 31 bits: compared in one instruction
    kClient = 0x6e6e6f63,                // a client's end of a connection; "conn" in memory
    kServerEnd = 0x726c6c63,             // a server's end of one; "cllr"
    kServer = 0x76726573,                // "serv"
    kClosed = 0,
};

}  // namespace vmrpc::call

/// Base of call::Endpoint.
struct vmrpc_connection {
    vmrpc::call::HandleKind kind;
    /// The serial of a client's lanes until the connection is over; else 0. A thread whose last lane has this serial
    /// may call at once: the handle is a client's, the lane is one of its own, and this process has made it.
    std::atomic<std::uint64_t> open_serial{0};
    /// The serial of the heap's arenas until the connection is over; else 0. A thread that has a last_cache_of() of
    /// this serial may allocate from it and free to it.
    std::atomic<std::uint64_t> heap_serial{0};
};

/// Base of ServerLoop.
struct vmrpc_server {
    vmrpc::call::HandleKind kind = vmrpc::call::HandleKind::kServer;
};
