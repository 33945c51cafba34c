// Unix sockets of local:'s kind.
#pragma once

#include "transport/socket.hpp"

#include <sys/socket.h>

#include <string_view>

namespace vmrpc::transport::local {

inline constexpr int kSocketType = SOCK_SEQPACKET;

inline base::Result<sockaddr_un> socket_address(std::string_view path) {
    return transport::socket_address("local", path);
}

inline base::Result<notify::GuardedFd> make_socket() {
    return transport::make_socket(kSocketType);
}

}  // namespace vmrpc::transport::local
