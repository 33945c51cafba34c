// local:PATH: connections between two processes of one machine.
//
// The server listens on a Unix socket. Each client gets a sealed memfd of its own, mapped at the same address on both
// sides where possible. The server rings a client by a futex in the region, which no client can make block; a client
// rings the server by an eventfd, of which the server has one for each client. Death: the end of the socket's file, or
// of the process at its other end, whichever the kernel tells first.
//
// Who may connect is decided by the socket file's permissions, and those of the folders above it: the file gets the
// mode that the server's umask leaves.
#pragma once

#include "transport/transport.hpp"

#include <memory>
#include <string_view>

namespace vmrpc::transport::local {

class Local {
  public:
    static constexpr std::string_view kScheme = "local";
    /// Of a hand-shake, from the server's side: a client that takes longer is let go.
    static constexpr std::int64_t kHandshakeLimitNs = 5'000'000'000;

    /// As transport.hpp says. A file at the path that is no socket is never removed; a socket without a server is
    /// replaced; VMRPC_ADDRESS_IN_USE if a server answers there.
    static base::Result<std::unique_ptr<Listener>> listen(const ListenRequest& request, ListenerEvents& events);
    static base::Result<std::unique_ptr<ClientLink>> connect(const ConnectRequest& request, ClientEvents& events);
};

static_assert(Transport<Local>);

}  // namespace vmrpc::transport::local
