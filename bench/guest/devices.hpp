// The guest's two ivshmem devices: the server's, and the one that is only memory. Their size tells them apart.
#pragma once

#include "base/fd.hpp"

#include <cstddef>
#include <string>

namespace vmrpc::bench {

/// What a client connects to. Throws std::runtime_error if there is no such device.
std::string server_address();

/// The other device's memory, mapped. Throws std::runtime_error and std::system_error.
class FloorMemory {
  public:
    FloorMemory();
    FloorMemory(const FloorMemory&) = delete;
    FloorMemory& operator=(const FloorMemory&) = delete;
    ~FloorMemory();
    [[nodiscard]] std::byte* base() const { return static_cast<std::byte*>(base_); }

  private:
    base::Fd file_;
    void* base_ = nullptr;
};

}  // namespace vmrpc::bench
