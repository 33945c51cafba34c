// A running guest that takes orders.
#pragma once

#include "base/fd.hpp"
#include "guest.hpp"
#include "vm/messages.hpp"

#include <cstdint>
#include <functional>
#include <string>

namespace vmrpc::bench {

class Worker {
  public:
    /// Boots a guest with these options, and a port of which it takes orders; QEMU connects the port at `port_socket`.
    /// Returns when the guest is ready. Throws Stopped as wait_readable(), std::runtime_error if the guest ends.
    Worker(const std::string& port_socket, vm::GuestOptions options, std::int64_t until_ns);

    /// Blocks until the guest has answered. Throws as the constructor, and if the guest could not measure.
    Answer follow(const Order& order);
    [[nodiscard]] std::string accelerator() const { return guest_.accelerator(); }

  private:
    Answer receive();
    [[noreturn]] void ended();

    std::int64_t until_ns_;
    base::Fd listening_;
    base::Fd port_;
    vm::Guest guest_;
};

}  // namespace vmrpc::bench
