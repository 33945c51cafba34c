// The server that is looked into.
#pragma once

#include "vmrpc/failure.hpp"
#include "vmrpc/report.hpp"

#include <vmrpc/vmrpc.hpp>

#include <chrono>
#include <string>

namespace tool {

class Watched {
  public:
    /// Connects, and asks within `limit` each time. Throws Failure.
    Watched(const std::string& address, std::chrono::nanoseconds limit);
    /// What the server says now. Throws Failure: it does not answer, may not be asked, or answers nonsense.
    [[nodiscard]] Report report() const;

  private:
    vmrpc::Client client_;
    std::chrono::nanoseconds limit_;
};

}  // namespace tool
