// The processes of the host that answer a guest. All but one are stopped: those that spin would take the CPU that they
// share from each other.
#pragma once

#include "guest/tcp.hpp"
#include "guest/workloads.hpp"
#include "support/child.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace vmrpc::bench {

class Answerers {
  public:
    /// Starts them on `cpu`, before there is any other thread. Throws std::system_error, and what wait_readable()
    /// throws.
    Answerers(int cpu, const std::string& address, std::int64_t until_ns);
    Answerers(const Answerers&) = delete;
    Answerers& operator=(const Answerers&) = delete;
    ~Answerers();

    /// Lets this one run alone.
    void let_run(Answerer answerer) const;
    [[nodiscard]] int floor_memory() const { return memory_.get(); }
    [[nodiscard]] std::uint16_t tcp_port() const { return tcp_.port(); }

  private:
    base::Fd memory_;  // memfd
    std::byte* floor_ = nullptr;
    TcpEcho tcp_;
    std::array<std::unique_ptr<Child>, kAnswerers> children_;
};

}  // namespace vmrpc::bench
