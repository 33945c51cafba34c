// One QEMU at a doorbell's socket: hands the VM its bells, and its segment if that is the device's memory, and watches
// for its end.
#pragma once

#include "notify/housekeeper.hpp"
#include "transport/vm/served_vm.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace vmrpc::transport::vm {

/// Housekeeping thread, but for close() and destruction. Never blocks: all that QEMU is sent fits into an empty socket,
/// and what does not is not waited for.
class Session : public std::enable_shared_from_this<Session> {
  public:
    /// `ended` is called once, on the housekeeping thread, when QEMU is gone; it should drop the session. `served`: the
    /// VM, if its segment is not in this device's memory.
    Session(std::shared_ptr<Service> service, notify::GuardedFd socket, std::uint32_t number,
            std::shared_ptr<ServedVm> served, std::function<void()> ended);

    /// Makes the VM's segment, if it is still to be made, and sends what QEMU is to have. Errors: VMRPC_PEER_LOST (QEMU
    /// has left already), VMRPC_OUT_OF_RESOURCES, VMRPC_NOT_SUPPORTED (no sentinel).
    base::Status start();
    /// The listener ends: the guest's processes are told. Any thread.
    void close();
    /// "VM 3 (QEMU's pid 12, uid 1000)", for messages.
    [[nodiscard]] const std::string& title() const { return title_; }

  private:
    base::Status make_segment();
    base::Status greet(int memory);
    base::Status send(std::int64_t message, int descriptor = -1);
    base::Status watch();
    void on_socket();
    void on_read_limit();
    void end();

    std::shared_ptr<Service> service_;
    notify::GuardedFd socket_;
    std::function<void()> ended_;
    std::string title_;
    Peer peer_;
    const bool has_own_segment_;
    std::shared_ptr<ServedVm> served_;
    notify::Watch socket_watch_;
    notify::Watch read_limit_;
};

}  // namespace vmrpc::transport::vm
