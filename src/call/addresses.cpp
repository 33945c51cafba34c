#include "call/addresses.hpp"

#include "call/server_connection.hpp"
#include "notify/fork_guard.hpp"

#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>

namespace vmrpc::call {
namespace {

struct LastFound {
    std::uint64_t version = 0;
    Endpoint* endpoint = nullptr;
};
thread_local LastFound last_found;

// Counts changes of the set. release, on a change: pairs with the acquire in remembered(), so that who sees the version
// sees the end of an endpoint that it remembers.
std::atomic<std::uint64_t> version{1};

// Under ForkLock::kHandles. Never destroyed: connections may be closed while the process ends.
std::set<Endpoint*>& all_endpoints() {
    static auto& endpoints = *new std::set<Endpoint*>;
    return endpoints;
}

bool holds(const Endpoint& endpoint, const void* address) {
    return endpoint.to_wire(address, 1).has_value();
}

Endpoint* remembered(const void* address) {
    const bool is_current = last_found.version == version.load(std::memory_order_acquire);
    return is_current && holds(*last_found.endpoint, address) ? last_found.endpoint : nullptr;
}

Endpoint* looked_up(const void* address, bool is_serving) {
    const std::scoped_lock lock(notify::fork_lock(notify::ForkLock::kHandles));
    Endpoint* found = nullptr;
    for (Endpoint* endpoint : all_endpoints()) {
        const bool is_client = endpoint->side() == layout::Side::kClient;
        if ((is_serving && !is_client) || !holds(*endpoint, address)) continue;
        found = endpoint;
        if (is_client) break;
    }
    // relaxed: only this lock's holders change it
    if (found != nullptr) last_found = {version.load(std::memory_order_relaxed), found};
    return found;
}

}  // namespace

void add_addresses(Endpoint& endpoint) {
    const std::scoped_lock lock(notify::fork_lock(notify::ForkLock::kHandles));
    all_endpoints().insert(&endpoint);
    version.fetch_add(1, std::memory_order_release);
}

void remove_addresses(Endpoint& endpoint) {
    const std::scoped_lock lock(notify::fork_lock(notify::ForkLock::kHandles));
    all_endpoints().erase(&endpoint);
    version.fetch_add(1, std::memory_order_release);
}

Endpoint* endpoint_holding(const void* address) {
    ServerConnection* const serving = ServerConnection::current();
    if (serving != nullptr && holds(*serving, address)) return serving;
    Endpoint* const last = remembered(address);
    // What was remembered outside of a call may be another client's.
    if (last != nullptr && (serving == nullptr || last->side() == layout::Side::kClient)) return last;
    return looked_up(address, serving != nullptr);
}

}  // namespace vmrpc::call
