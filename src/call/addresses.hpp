// From an address to the connection whose memory it lies in: containers know their heap by where they lie.
#pragma once

#include "call/endpoint.hpp"

namespace vmrpc::call {

/// Lets endpoint_holding() find an endpoint, or no longer. Any thread; the endpoint's constructor and destructor.
void add_addresses(Endpoint& endpoint);
void remove_addresses(Endpoint& endpoint);
/// A part of an endpoint's memory is gone. Any thread.
void addresses_changed() noexcept;

/// The endpoint of this process whose data, or further heap, the address lies in; null if there is none. On a thread
/// that serves a call that is the call's own connection or one that this process made as a client, and never another
/// client's, whatever an untrusted peer wrote. Elsewhere a client's end comes before a server's, where one process has
/// both. Takes a lock only when the address is not in the connection that this thread asked for last.
Endpoint* endpoint_holding(const void* address);

}  // namespace vmrpc::call
