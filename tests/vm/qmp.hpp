// QEMU's control channel (QMP): commands in JSON, one line each, over a socket that QEMU inherits.
#pragma once

#include "guest.hpp"
#include "qemu_process.hpp"

#include <chrono>
#include <mutex>
#include <string>

namespace vmrpc::vm {

// All functions may be called from any thread; one command runs at a time.
class Qmp {
  public:
    // Agrees on capabilities without waiting for QEMU, which answers once it runs.
    explicit Qmp(Descriptor socket);

    // Blocks until QEMU has answered, has ended, or the time is over.
    QmpReply run(const std::string& command, const std::string& arguments, std::chrono::milliseconds limit);

  private:
    using Clock = std::chrono::steady_clock;

    bool send(const std::string& line);
    bool receive_line(std::string& line, Clock::time_point deadline);
    QmpReply receive_reply(int id, Clock::time_point deadline);

    std::mutex mutex_;
    Descriptor socket_;
    std::string received_;  // not a whole line yet
    int last_id_ = 0;
};

}  // namespace vmrpc::vm
