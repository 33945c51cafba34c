// From the C API's handles to what they mean.
#pragma once

#include "base/result.hpp"
#include "call/client_connection.hpp"
#include "call/server_connection.hpp"
#include "server.hpp"

#include <vmrpc/vmrpc.h>

namespace vmrpc {

/// Handles that are open, so that vmrpc_close reads none that is not: what vmrpc_connect and vmrpc_serve gave out. Any
/// thread.
void add_open_handle(const void* handle);
/// Whether it was open; it is not any more.
bool take_open_handle(const void* handle);

/// Whether it is an open connection with an RPC stack that this thread runs on, or will return to.
bool is_under_running_code(const void* handle);

/// Whether this thread executes a function for the peer of that connection.
bool is_running_function_of(const void* handle);

/// The connection that a handle means; NULL: that of the call being served on this thread.
/// Errors: VMRPC_BAD_ARGUMENT (no open connection, or NULL outside of a call), VMRPC_CLOSED (the parent's, after a
/// fork).
base::Result<call::Endpoint*> endpoint_of(vmrpc_connection* connection);
/// The same; also fails with the reason if the connection is over.
base::Result<call::Endpoint*> usable_endpoint_of(vmrpc_connection* connection);
/// Errors: those of endpoint_of; VMRPC_BAD_ARGUMENT for a server's end, from which calls cannot be made.
base::Result<call::ClientConnection*> client_of(vmrpc_connection* connection);
/// Errors: VMRPC_BAD_ARGUMENT.
base::Result<ServerLoop*> server_of(vmrpc_server* server);

}  // namespace vmrpc
