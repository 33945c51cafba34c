// A process's end of the broker's socket.
#pragma once

#include "base/clock.hpp"
#include "base/result.hpp"
#include "notify/fork_guard.hpp"
#include "transport/vm/doorbell/broker_protocol.hpp"

#include <string>

namespace vmrpc::transport::vm {

/// What the broker answered, with the descriptor that came along.
struct BrokerReply {
    BrokerAnswer answer;
    notify::GuardedFd descriptor;
};

/// One connection to the broker. One thread at a time.
class BrokerClient {
  public:
    /// Connects to the broker of the device at a PCI address, starts it if none listens, and asks for the device.
    /// `proof` is shown only to a broker that needs it, and none is trusted but root's, this user's, and one whose user
    /// may open the device itself. Waits until the broker has opened the device. Errors: what the broker found, see
    /// open_vfio_device; and
    ///   VMRPC_BAD_ADDRESS     not a PCI address
    ///   VMRPC_NOT_SUPPORTED   the broker's program is not installed, or is of another version
    ///   VMRPC_NOT_PERMITTED   the broker knows no reason to let this process; a stranger listens in its place
    ///   VMRPC_NO_SERVER       the broker ends as soon as it was started
    ///   VMRPC_POISONED        an answer that cannot be
    ///   VMRPC_TIMED_OUT, VMRPC_OUT_OF_RESOURCES
    static base::Result<BrokerClient> connect(const std::string& pci_address, int proof, base::Deadline deadline,
                                              BrokerReply& opened);

    /// A vector's eventfd. After an error but VMRPC_BAD_ARGUMENT the connection is over. Errors: VMRPC_BAD_ARGUMENT (no
    /// such vector), VMRPC_PEER_LOST, VMRPC_POISONED, VMRPC_TIMED_OUT.
    base::Result<notify::GuardedFd> vector(std::uint32_t vector, base::Deadline deadline);

    /// Hangs up when the broker is gone.
    [[nodiscard]] int socket() const { return socket_.get(); }

  private:
    explicit BrokerClient(notify::GuardedFd socket) : socket_(std::move(socket)) {}
    base::Result<BrokerReply> ask(const BrokerRequest& request, int proof, base::Deadline deadline);

    notify::GuardedFd socket_;
};

}  // namespace vmrpc::transport::vm
