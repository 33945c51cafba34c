// A server's address under local:: accepts clients and drives their hand-shakes, all on the housekeeping thread.
#pragma once

#include "notify/housekeeper.hpp"
#include "transport/local/handshake.hpp"
#include "transport/socket_file.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

namespace vmrpc::transport::local {

class LocalListener final : public Listener {
  public:
    LocalListener(SocketFile file, const ListenRequest& request, ListenerEvents& events);
    ~LocalListener() override;

    /// Begins to accept. Errors: VMRPC_OUT_OF_RESOURCES.
    base::Status start();

  private:
    base::Status watch_socket();
    void on_connections();
    bool accept_one();
    void rest_from_accepting();
    void begin(notify::GuardedFd socket);
    void on_handshake(std::uint64_t number);
    void on_time_limit(std::uint64_t number);

    const ServerTerms terms_;
    SocketFile file_;
    const std::shared_ptr<EventSink> sink_;
    // Taken after the sink's mutex, and not that one: who calls listen() may hold a lock that its events take.
    std::mutex accepting_mutex_;
    notify::Watch socket_watch_;  // under accepting_mutex_, as the next one
    notify::Watch rest_;          // timer: accept again
    // The rest is under the sink's mutex.
    bool short_of_descriptors_ = false;
    std::uint32_t last_connection_ = 0;
    std::map<std::uint64_t, std::unique_ptr<Handshake>> handshakes_;
};

}  // namespace vmrpc::transport::local
