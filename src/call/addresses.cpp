#include "call/addresses.hpp"

#include "call/server_connection.hpp"
#include "notify/fork_guard.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>

namespace vmrpc::call {
namespace {

/// What this thread found last. Copied, as the endpoint may be closed by another thread while this one asks for an
/// address elsewhere.
struct LastFound {
    std::uint64_t version = 0;
    std::uintptr_t begin = 0;
    std::uint64_t bytes = 0;
    Endpoint* endpoint = nullptr;
    bool is_client = false;
};
thread_local LastFound last_found;

// Counts changes of the sets. release, on a change: pairs with the acquire in remembered(), so that who sees the
// version sees the end of an endpoint that it remembers.
std::atomic<std::uint64_t> version{1};

using Endpoints = std::set<Endpoint*>;

// By side. Under ForkLock::kHandles. Never destroyed: connections may be closed while the process ends.
Endpoints& endpoints_of(layout::Side side) {
    static auto& endpoints = *new std::array<Endpoints, 2>;
    return endpoints[layout::index_of(side)];
}

bool holds(const Endpoint& endpoint, const void* address) {
    return endpoint.to_wire(address, 1).has_value();
}

/// nullptr if it is another. `only_client`: what was remembered outside of a call may be another client's.
Endpoint* remembered(const void* address, bool only_client) {
    const bool is_current = last_found.version == version.load(std::memory_order_acquire);
    const bool is_there = reinterpret_cast<std::uintptr_t>(address) - last_found.begin < last_found.bytes;
    return is_current && is_there && (last_found.is_client || !only_client) ? last_found.endpoint : nullptr;
}

Endpoint* looked_up(const void* address, layout::Side side) {
    for (Endpoint* endpoint : endpoints_of(side)) {
        // relaxed: read before the range, so that what is remembered of a range that goes is of a version before
        const std::uint64_t seen = version.load(std::memory_order_relaxed);
        const auto range = endpoint->range_holding(address);
        if (range.empty()) continue;
        last_found = {seen, reinterpret_cast<std::uintptr_t>(range.data()), range.size(), endpoint,
                      side == layout::Side::kClient};
        return endpoint;
    }
    return nullptr;
}

}  // namespace

void add_addresses(Endpoint& endpoint) {
    const std::scoped_lock lock(notify::fork_lock(notify::ForkLock::kHandles));
    endpoints_of(endpoint.side()).insert(&endpoint);
    version.fetch_add(1, std::memory_order_release);
}

void remove_addresses(Endpoint& endpoint) {
    const std::scoped_lock lock(notify::fork_lock(notify::ForkLock::kHandles));
    endpoints_of(endpoint.side()).erase(&endpoint);
    version.fetch_add(1, std::memory_order_release);
}

void addresses_changed() noexcept {
    version.fetch_add(1, std::memory_order_release);
}

Endpoint* endpoint_holding(const void* address) {
    Endpoint* const serving = RunningCall::current_endpoint();
    const bool is_serving = serving != nullptr;
    if (is_serving && holds(*serving, address)) return serving;
    if (Endpoint* const last = remembered(address, is_serving)) return last;
    const std::scoped_lock lock(notify::fork_lock(notify::ForkLock::kHandles));
    if (Endpoint* const client = looked_up(address, layout::Side::kClient)) return client;
    return is_serving ? nullptr : looked_up(address, layout::Side::kServer);
}

}  // namespace vmrpc::call
