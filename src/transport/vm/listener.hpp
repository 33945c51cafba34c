// A server's address under ivshmem:: accepts QEMUs, all on the housekeeping thread.
#pragma once

#include "notify/housekeeper.hpp"
#include "transport/socket_file.hpp"
#include "transport/vm/session.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

namespace vmrpc::transport::vm {

class VmListener final : public Listener {
  public:
    VmListener(SocketFile file, std::shared_ptr<Service> service);
    ~VmListener() override;

    /// Begins to accept. Errors: VMRPC_OUT_OF_RESOURCES.
    base::Status start();

  private:
    base::Status watch_socket();
    void on_connections();
    bool accept_one();
    void rest_from_accepting();
    void begin(notify::GuardedFd socket);
    void forget(std::uint32_t number);

    SocketFile file_;
    const std::shared_ptr<Service> service_;
    // Taken after the sink's mutex, and not that one: who calls listen() may hold a lock that its events take.
    std::mutex accepting_mutex_;
    notify::Watch socket_watch_;  // under accepting_mutex_, as the next one
    notify::Watch rest_;          // timer: accept again
    // The rest is under the sink's mutex.
    bool short_of_descriptors_ = false;
    std::uint32_t last_vm_ = 0;
    std::map<std::uint32_t, std::shared_ptr<Session>> sessions_;
};

}  // namespace vmrpc::transport::vm
