// A server of the demo's own, in another process.
#pragma once

#include "echo.hpp"

#include <signal.h>
#include <sys/types.h>

#include <string>
#include <thread>

namespace demo {

/// Runs this program once more, as a server in a folder of its own; both end with this object, or with SIGINT, SIGTERM
/// and SIGHUP, which end this process too. One at a time, made while there is only one thread. Throws Failure.
class ServerProcess {
  public:
    ServerProcess();
    ServerProcess(const ServerProcess&) = delete;
    ServerProcess& operator=(const ServerProcess&) = delete;
    ~ServerProcess();
    [[nodiscard]] const std::string& address() const { return address_; }

  private:
    void start();
    void wait_until_it_serves() const;
    void watch_signals();
    void end() noexcept;
    /// Of the one thread that ends it: the watcher, after a signal, or, when that is gone, the owner's.
    void clean_up() noexcept;

    sigset_t signals_{};
    sigset_t mask_before_{};
    std::string folder_;
    std::string address_;
    pid_t server_ = -1;
    Descriptor output_;  // kept open: the server may say more
    Descriptor done_;    // an eventfd: no need to watch any longer
    std::thread watcher_;
};

}  // namespace demo
