// Where the guest finds what it calls: three devices of one kind, which their sizes tell apart.
#pragma once

#include "base/fd.hpp"
#include "vm/network.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

namespace vmrpc::bench {

/// As the guest's program is told.
struct PlacesWords {
    std::string memory;
    std::string ring;
    std::string spin_ring;
    std::uint16_t tcp_port = 0;
};

class Places {
  public:
    /// Finds the devices, and maps the floor's memory. Throws std::runtime_error and std::system_error.
    explicit Places(const PlacesWords& words);
    Places(const Places&) = delete;
    Places& operator=(const Places&) = delete;
    ~Places();

    /// Of the service that spins, and of the one that sleeps.
    [[nodiscard]] const std::string& spins() const { return spins_; }
    [[nodiscard]] const std::string& sleeps() const { return sleeps_; }
    [[nodiscard]] std::byte* floor() const { return static_cast<std::byte*>(floor_); }
    [[nodiscard]] std::string tcp_host() const { return kHostInGuest; }
    [[nodiscard]] std::uint16_t tcp_port() const { return tcp_port_; }

  private:
    std::string spins_;
    std::string sleeps_;
    std::uint16_t tcp_port_;
    base::Fd floor_file_;
    void* floor_ = nullptr;
};

/// Whether VFIO has any device of this guest, as it has once a client that can be interrupted has connected.
[[nodiscard]] bool vfio_has_a_device();

}  // namespace vmrpc::bench
