// What a server says of itself to those who watch it.
#pragma once

#include "call/counters.hpp"
#include "call/function_table.hpp"
#include "call/server_connection.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace vmrpc {

/// Facts of the whole server.
struct ServerFacts {
    const std::string& address;
    std::int64_t started_ns;
    std::uint64_t sleeps;
    std::uint64_t spins;  // rounds that found nothing
};

/// The server's connections, for a report that any thread may ask for; the serving thread adds and removes them.
class Roster {
  public:
    void add(call::ServerConnection& connection);
    /// When this has returned no report looks at the connection.
    void remove(call::ServerConnection& connection);

    /// As JSON; docs/STATS.md lists the keys. Throws std::bad_alloc.
    [[nodiscard]] std::string report(const ServerFacts& facts, const call::FunctionTable& functions) const;

  private:
    mutable std::mutex mutex_;
    std::map<std::uint64_t, call::ServerConnection*> by_number_;  // under mutex_
};

/// Serves vmrpc.report, which every server has beside its own functions; `user` is the ServerLoop. Only for the
/// server's own user, and root, of this machine: the report names other clients. Others get VMRPC_NOT_PERMITTED.
vmrpc_status serve_report(void* user, void* const* arguments, void* result, char* error_text, std::size_t error_bytes);

}  // namespace vmrpc
