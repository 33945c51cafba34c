// One byte there and back over TCP, without delay: what a guest would use otherwise.
#pragma once

#include "base/fd.hpp"
#include "support/measure.hpp"

#include <cstdint>
#include <string>

namespace vmrpc::bench {

/// Listens at an address of the host, at a port that is free.
class TcpEcho {
  public:
    /// Throws std::system_error.
    explicit TcpEcho(const std::string& host);
    [[nodiscard]] std::uint16_t port() const { return port_; }
    /// Serves one connection after the other, without end.
    [[noreturn]] void serve() const;

  private:
    base::Fd socket_;
    std::uint16_t port_ = 0;
};

/// The guest's side: connects, and sends and receives single bytes. Throws std::system_error.
Figures tcp_call(const Effort& effort, const std::string& host, std::uint16_t port);

}  // namespace vmrpc::bench
