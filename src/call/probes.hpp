// Static probes (USDT) at a call's four turning points, for tracing what runs: docs/STATS.md lists them and says how
// they are used. Each is one nop, and a note in the library's file that says in which registers or memory its arguments
// are, so that nothing is stored or loaded for it.
#pragma once

#if defined(__clang__)
#define STAP_SDT_ARG_CONSTRAINT nr  // of the usual choice it takes the worst, a copy of each argument in memory
#endif
#include <sys/sdt.h>

#include <cstdint>

namespace vmrpc::call {

// What is taken by reference is a member of something: it is looked for there when somebody traces, and costs nothing
// before. What is taken by value is in a register where the probe is. `connection` and `lane` are their numbers, on
// both sides the same.

/// The client has published a request. With connection, lane and sequence the other probes name the same call.
[[gnu::always_inline]] inline void probe_post(const std::uint32_t& connection, const std::uint32_t& lane,
                                              std::uint64_t sequence, const std::uint32_t& function) {
    STAP_PROBE4(vmrpc, post, connection, lane, sequence, function);
}

/// The server begins to execute the function, on this thread.
[[gnu::always_inline]] inline void probe_dispatch(const std::uint32_t& connection, const std::uint32_t& lane,
                                                  const std::uint64_t& sequence, const std::uint32_t& function) {
    STAP_PROBE4(vmrpc, dispatch, connection, lane, sequence, function);
}

/// The server has published the reply.
[[gnu::always_inline]] inline void probe_reply(const std::uint32_t& connection, const std::uint32_t& lane,
                                               const std::uint64_t& sequence, const std::uint32_t& function,
                                               std::uint32_t status) {
    STAP_PROBE5(vmrpc, reply, connection, lane, sequence, function, status);
}

/// A side that said that it is about to sleep is about to be rung: 0, the client, or 1, the server.
[[gnu::always_inline]] inline void probe_wake(const std::uint32_t& connection, std::uint32_t side) {
    STAP_PROBE2(vmrpc, wake, connection, side);
}

}  // namespace vmrpc::call
