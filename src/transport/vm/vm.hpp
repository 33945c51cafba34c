// What the server has of one VM: its segment, its bells, its sentinel. Shared by the session and the links.
#pragma once

#include "base/result.hpp"
#include "layout/wild.hpp"
#include "transport/event_sink.hpp"
#include "transport/mapping.hpp"
#include "transport/transport.hpp"
#include "transport/vm/sentinel.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <string>

namespace vmrpc::transport::vm {

/// What is the same for all VMs of a server.
struct Service {
    std::string name;  // "ivshmem:PATH"
    Wishes most;
    std::uint32_t max_connections = 0;
    std::int64_t read_limit_ns = 0;
    std::string sentinel;  // its program
    std::shared_ptr<EventSink> sink;
    std::uint32_t last_connection = 0;  // housekeeping thread
};

/// Bytes of a VM's segment under these terms: a power of two, as QEMU wants it.
[[nodiscard]] std::uint64_t segment_bytes_for(const Wishes& most);

/// One VM. Threads: everything but make() and destruction is constant or a system call.
class Vm {
  public:
    /// Makes memory, mapping and bells, and formats the directory. The sentinel is not started yet.
    /// Errors: VMRPC_OUT_OF_RESOURCES.
    static base::Result<std::shared_ptr<Vm>> make(const Service& service, const Peer& peer);
    Vm(const Vm&) = delete;
    Vm& operator=(const Vm&) = delete;
    /// Tells the guest's processes, if there still are any, that nobody serves them; unmaps; closes.
    ~Vm();

    /// From now on the guest learns of this process's death. Errors: those of Sentinel::start.
    base::Status start_sentinel(const Service& service);
    /// Gives back the pages of a part of the segment, which nobody uses, if they can be taken again: those of the pool
    /// of huge pages stay. Errors: VMRPC_OUT_OF_RESOURCES.
    [[nodiscard]] base::Status give_back(const layout::Extent& part) const;
    /// Zeroes it. Blocks for as long as that takes where pages stay. Errors: VMRPC_OUT_OF_RESOURCES.
    [[nodiscard]] base::Status clear(const layout::Extent& part) const;
    /// Makes the housekeeper look at the directory. Any thread; does not block.
    void ring_directory() const noexcept;
    /// Refuses everybody who would still claim this entry: the server is ending.
    void close_entry(std::uint32_t entry) const;

    [[nodiscard]] std::byte* base() const { return mapping_->base(); }
    [[nodiscard]] std::uint64_t bytes() const { return mapping_->bytes(); }
    [[nodiscard]] const Peer& peer() const { return peer_; }
    [[nodiscard]] int memory() const { return memory_.get(); }
    /// eventfds: what the guest rings, and interrupts into it, by Vector.
    [[nodiscard]] int bell(std::uint32_t vector) const { return bells_[vector].get(); }
    [[nodiscard]] int interrupt(std::uint32_t vector) const { return interrupts_[vector].get(); }

  private:
    Vm() = default;
    base::Status make_memory(const Service& service);
    base::Status make_bells();
    void format() const;

    Peer peer_;
    layout::Uuid uuid_{};
    notify::GuardedFd memory_;
    std::shared_ptr<Mapping> mapping_;
    std::array<notify::GuardedFd, 2> bells_;
    std::array<notify::GuardedFd, 2> interrupts_;
    Sentinel sentinel_;
};

}  // namespace vmrpc::transport::vm
