// A socket file at which QEMUs arrive: accepts them, all on the housekeeping thread.
#pragma once

#include "notify/housekeeper.hpp"
#include "transport/event_sink.hpp"
#include "transport/socket_file.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <string>

namespace vmrpc::transport::vm {

class Acceptor {
  public:
    /// `accepted` runs under the sink's mutex, and only while the sink has events. `name` is for messages.
    Acceptor(SocketFile file, std::string name, std::shared_ptr<EventSink> sink,
             std::function<void(notify::GuardedFd)> accepted);
    Acceptor(const Acceptor&) = delete;
    Acceptor& operator=(const Acceptor&) = delete;
    /// Removes the file. Not under the sink's mutex, unless on the housekeeping thread.
    ~Acceptor();

    /// Begins to accept. Errors: VMRPC_OUT_OF_RESOURCES.
    base::Status start() { return watch_socket(); }

  private:
    base::Status watch_socket();
    void on_connections();
    bool accept_one();
    void rest_from_accepting();

    SocketFile file_;
    const std::string name_;
    const std::shared_ptr<EventSink> sink_;
    const std::function<void(notify::GuardedFd)> accepted_;
    // Taken after the sink's mutex, and not that one: who calls listen() may hold a lock that its events take.
    std::mutex watches_mutex_;
    notify::Watch socket_watch_;         // under watches_mutex_, as the next one
    notify::Watch rest_;                 // timer: accept again
    bool short_of_descriptors_ = false;  // under the sink's mutex
};

}  // namespace vmrpc::transport::vm
