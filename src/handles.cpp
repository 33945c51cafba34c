#include "handles.hpp"

namespace vmrpc {

base::Result<call::Endpoint*> endpoint_of(vmrpc_connection* connection) {
    if (connection == nullptr) {
        if (auto* serving = call::ServerConnection::current()) return serving;
        return base::fail(VMRPC_BAD_ARGUMENT,
                          "no connection was given, and this thread is serving no call: NULL means "
                          "the connection of the call being served");
    }
    if (connection->kind == call::HandleKind::kClient)
        VMRPC_TRY(static_cast<call::ClientConnection*>(connection)->usable_here());
    else if (connection->kind != call::HandleKind::kServerEnd)
        return base::fail(VMRPC_BAD_ARGUMENT, "the handle is no open connection");
    return static_cast<call::Endpoint*>(connection);
}

base::Result<call::Endpoint*> usable_endpoint_of(vmrpc_connection* connection) {
    auto endpoint = endpoint_of(connection);
    VMRPC_TRY(endpoint);
    VMRPC_TRY((*endpoint)->usable());
    return endpoint;
}

base::Result<call::ClientConnection*> client_of(vmrpc_connection* connection) {
    if (connection != nullptr && connection->kind == call::HandleKind::kServerEnd)
        return base::fail(VMRPC_BAD_ARGUMENT,
                          "a server's end of a connection cannot call: calls back are not there yet");
    if (connection == nullptr || connection->kind != call::HandleKind::kClient)
        return base::fail(VMRPC_BAD_ARGUMENT, "the handle is no open connection");
    return static_cast<call::ClientConnection*>(connection);
}

base::Result<ServerLoop*> server_of(vmrpc_server* server) {
    if (server == nullptr || server->kind != call::HandleKind::kServer)
        return base::fail(VMRPC_BAD_ARGUMENT, "the handle is no open server");
    return static_cast<ServerLoop*>(server);
}

}  // namespace vmrpc
