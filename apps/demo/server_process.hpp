// A server of the demo's own, in another process.
#pragma once

#include "echo.hpp"
#include "vmrpc/vm/setup.hpp"

#include <signal.h>
#include <sys/types.h>

#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace demo {

/// Runs this program once more, as a server in a folder of its own; both end with this object, or with SIGINT, SIGTERM
/// and SIGHUP, which end this process too. One at a time, made while there is only one thread. Throws Failure.
class ServerProcess {
  public:
    enum class Clients {
        kHere,    // processes of this machine: local:, with its echo on a Unix socket
        kInGuest  // processes of a virtual machine: vm:, with its echo over TCP
    };

    explicit ServerProcess(Clients clients);
    ServerProcess(const ServerProcess&) = delete;
    ServerProcess& operator=(const ServerProcess&) = delete;
    ~ServerProcess();
    [[nodiscard]] const std::string& address() const { return address_; }
    /// The VM that is served, with its memory in folder(), for clients in a guest.
    [[nodiscard]] const tool::VmSetup& vm() const { return vm_; }
    /// Of the echo over TCP, on 127.0.0.1.
    [[nodiscard]] const std::string& echo_port() const { return echo_port_; }
    /// For files that are to go with the server.
    [[nodiscard]] const std::string& folder() const { return folder_; }
    /// What else is to end when a signal ends this process; called on another thread. Empty: nothing.
    void on_signal(std::function<void()> first);

  private:
    void make_vm();
    void start();
    void wait_until_it_serves();
    void read_first_line();
    void watch_signals();
    void end() noexcept;
    /// Of the one thread that ends it: the watcher, after a signal, or, when that is gone, the owner's.
    void clean_up() noexcept;

    const Clients clients_;
    sigset_t signals_{};
    sigset_t mask_before_{};
    std::string folder_;
    std::string address_;
    std::string echo_port_;
    tool::VmSetup vm_;
    pid_t server_ = -1;
    Descriptor output_;  // kept open: the server may say more
    Descriptor done_;    // an eventfd: no need to watch any longer
    std::mutex mutex_;
    std::function<void()> on_signal_;  // under mutex_, running too
    std::thread watcher_;
};

}  // namespace demo
