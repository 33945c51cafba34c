// A server's address under ivshmem:, one socket for all VMs, each of which gets its segment through it.
#pragma once

#include "transport/vm/acceptor.hpp"
#include "transport/vm/session.hpp"

#include <cstdint>
#include <map>
#include <memory>

namespace vmrpc::transport::vm {

class BarListener final : public Listener {
  public:
    /// At this path. Errors: those of SocketFile::open, VMRPC_OUT_OF_RESOURCES.
    static base::Result<std::unique_ptr<BarListener>> open(const std::string& path, std::shared_ptr<Service> service);
    BarListener(SocketFile file, std::shared_ptr<Service> service);
    ~BarListener() override;

    /// Begins to accept. Errors: VMRPC_OUT_OF_RESOURCES.
    base::Status start();
    /// Gives the QEMU at the other end a segment. Under the sink's mutex, while the sink has events.
    void begin(notify::GuardedFd socket);

  private:
    void forget(std::uint32_t number);

    const std::shared_ptr<Service> service_;
    std::unique_ptr<Acceptor> acceptor_;
    // Under the sink's mutex.
    std::map<std::uint32_t, std::shared_ptr<Session>> sessions_;
};

}  // namespace vmrpc::transport::vm
