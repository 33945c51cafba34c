// A VM's processes that are rung over virtio-serial: for each port of the VM a socket that its QEMU has connected.
//
// A port outlives the processes that use it, one after the other: the socket says nothing of a process's end, and what
// was sent to one that has died is read by the next. Who has a port says hello on it (protocol.hpp).
#pragma once

#include "notify/fork_guard.hpp"
#include "transport/vm/ring_reader.hpp"
#include "transport/vm/vm.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace vmrpc::transport::vm {

/// Housekeeping thread, but for ring() and destruction. Owned by shared_ptr. Never blocks.
class SerialPorts final : public RingsByStream, public std::enable_shared_from_this<SerialPorts> {
  public:
    /// `ended` is called once, on the housekeeping thread, when the last of the sockets has ended, and QEMU with it.
    SerialPorts(std::weak_ptr<Vm> vm, const layout::Uuid& segment, std::uint32_t entries, std::function<void()> ended);
    ~SerialPorts() override;

    /// Serves the port at this socket. Errors: VMRPC_NOT_PERMITTED (it is another QEMU's than the others, or more than
    /// kMostProcesses), VMRPC_OUT_OF_RESOURCES.
    base::Status add(notify::GuardedFd socket);
    /// A socket that is full holds rings enough: its process reads them later, or the next one does.
    void ring(std::uint32_t entry) noexcept override;
    [[nodiscard]] bool empty() const { return ports_.empty(); }

  private:
    class Port;

    void on_socket(std::uint64_t name);
    void take(const std::shared_ptr<Port>& port, const RingReader::Heard& heard);
    void know(std::shared_ptr<Port> port, std::uint32_t entry);
    void end(std::uint64_t name);

    const std::weak_ptr<Vm> vm_;
    const layout::Uuid segment_;
    const std::uint32_t entries_;
    const std::function<void()> ended_;
    std::uint32_t qemu_ = 0;  // its pid
    std::uint64_t last_name_ = 0;
    std::map<std::uint64_t, std::shared_ptr<Port>> ports_;  // housekeeping thread
    std::mutex mutex_;
    std::vector<std::shared_ptr<Port>> by_entry_;  // none: nobody has said so; under mutex_
};

}  // namespace vmrpc::transport::vm
