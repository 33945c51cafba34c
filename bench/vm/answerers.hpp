// The processes of the host that answer a guest. All but one are stopped: those that spin would take the CPU that they
// share from each other.
#pragma once

#include "support/child.hpp"
#include "vm/floor.hpp"
#include "vm/services.hpp"
#include "vm/tcp.hpp"
#include "vm/workloads.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace vmrpc::bench {

class Answerers {
  public:
    /// Starts them on `cpu`, before there is any other thread; TCP listens at `host`. `floor_offset`: of the floor's
    /// lines in its memory. Throws std::system_error, and what wait_readable() throws.
    Answerers(int cpu, const Services& services, const std::string& host, std::size_t floor_offset,
              std::int64_t until_ns);
    Answerers(const Answerers&) = delete;
    Answerers& operator=(const Answerers&) = delete;
    ~Answerers();

    /// Lets this one run alone.
    void let_run(Answerer answerer) const;
    /// Lets both services run, and nothing else.
    void let_services_run() const;
    [[nodiscard]] int floor_memory() const { return memory_.get(); }
    [[nodiscard]] std::uint16_t tcp_port() const { return tcp_.port(); }

  private:
    void start_floor(int cpu, Answerer answerer, Pause pause, std::int64_t until_ns);
    void start_service(int cpu, Answerer answerer, const Service& service, std::int64_t spin, std::int64_t until_ns);
    void start(int cpu, Answerer answerer, std::int64_t until_ns, const std::function<void(const Report&)>& body);
    void resume(Answerer answerer) const;
    void stop_all() const;

    base::Fd memory_;  // memfd
    std::byte* memory_base_ = nullptr;
    std::byte* floor_ = nullptr;
    TcpEcho tcp_;
    std::array<std::unique_ptr<Child>, kAnswerers> children_;
};

}  // namespace vmrpc::bench
