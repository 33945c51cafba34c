// What the server has of one VM: its segment, its bells, its sentinel. Shared by the session and the links.
#pragma once

#include "base/result.hpp"
#include "layout/wild.hpp"
#include "transport/event_sink.hpp"
#include "transport/mapping.hpp"
#include "transport/transport.hpp"
#include "transport/vm/address.hpp"
#include "transport/vm/memory_file.hpp"
#include "transport/vm/ram/ram_segment.hpp"
#include "transport/vm/sentinel.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace vmrpc::transport::vm {

/// What is the same for all VMs of a server.
struct Service {
    std::string name;  // "vm:FOLDER", "ivshmem:PATH"
    Wishes most;
    std::uint32_t entries = kDefaultProcesses;  // of each VM's directory
    std::uint32_t max_connections = 0;
    std::int64_t read_limit_ns = 0;
    std::string sentinel;  // its program
    std::shared_ptr<EventSink> sink;
    std::uint32_t last_connection = 0;  // housekeeping thread, as the next one
    std::uint32_t last_vm = 0;
};

/// As the request has it, with the sentinel's program and a sink of its own. Errors: those of find_sentinel().
base::Result<std::shared_ptr<Service>> make_service(std::string name, const ListenRequest& request,
                                                    ListenerEvents& events);

/// Bytes of a VM's segment under these terms: a power of two, as QEMU wants it.
[[nodiscard]] std::uint64_t segment_bytes_for(const Wishes& most, std::uint32_t entries = kDefaultProcesses);

/// Streams of a VM's processes, by the device that carries them.
enum class StreamKind { kVsock, kSerial };
inline constexpr std::size_t kStreamKinds = 2;

/// Rings processes of a guest that have a stream each.
class RingsByStream {
  public:
    RingsByStream() = default;
    RingsByStream(const RingsByStream&) = delete;
    RingsByStream& operator=(const RingsByStream&) = delete;
    virtual ~RingsByStream() = default;
    /// The process that has this entry of the directory, if it has said so on such a stream. Any thread; does not
    /// block.
    virtual void ring(std::uint32_t entry) noexcept = 0;
};

/// One VM. Threads: everything but the making, the sentinel's start and destruction is constant, atomic, or a system
/// call.
class Vm : public std::enable_shared_from_this<Vm> {
  public:
    /// With memory of its own, a sealed memfd: makes memory, mapping and bells, and formats the directory. The sentinel
    /// is not started yet. Errors: VMRPC_OUT_OF_RESOURCES.
    static base::Result<std::shared_ptr<Vm>> make(const Service& service, const Peer& peer);
    /// With a file's or a device's memory, which the other side may have mapped already, and which another server may
    /// have used before: what it says is kept from meaning anything. Errors: those of make(), VMRPC_ADDRESS_IN_USE (a
    /// server on the other side serves it).
    static base::Result<std::shared_ptr<Vm>> make_on(MemoryFile memory, const Service& service, const Peer& peer);
    /// In pages of the guest's RAM, for the one process that lends them. They are let go of, and the guest is told so,
    /// when this is destroyed, or by the sentinel if this process dies. Errors: those of make().
    static base::Result<std::shared_ptr<Vm>> make_in_ram(RamSegment ram, const Peer& peer);
    Vm(const Vm&) = delete;
    Vm& operator=(const Vm&) = delete;
    /// Tells the guest's processes, if there still are any, that nobody serves them; unmaps; closes.
    ~Vm();

    /// From now on the guest learns of this process's death. Errors: those of Sentinel::start.
    base::Status start_sentinel(const Service& service);
    /// Gives back the pages of a part of the segment, which nobody uses, if they can be taken again: those of the pool
    /// of huge pages stay, and those of a device. Errors: VMRPC_OUT_OF_RESOURCES.
    [[nodiscard]] base::Status give_back(const layout::Extent& part) const;
    /// Makes a region's memory that of a new one: zeroes it, of a device only what has to be. Blocks for as long as
    /// that takes where pages stay. Errors: VMRPC_OUT_OF_RESOURCES.
    [[nodiscard]] base::Status clear(const layout::RegionPlan& plan) const;
    /// Makes the housekeeper look at the directory. Any thread; does not block.
    void ring_directory() const noexcept;
    /// Makes the serving thread look at the connections, as a guest that rings does. Any thread; does not block.
    void ring_requests() const noexcept;
    /// Rings the process that has this entry, as it has said in its claim, if the VM has a doorbell, or streams. Any
    /// thread; does not block.
    void ring_process(std::uint32_t entry, std::uint32_t vector) const noexcept;
    /// What rings by streams of one kind; null: nothing does any more. Any thread.
    void set_streams(StreamKind kind, std::shared_ptr<RingsByStream> streams) noexcept;
    [[nodiscard]] bool has_streams() const noexcept;
    /// Whether a doorbell is connected, both ways. Set by the session on the housekeeping thread; any thread. relaxed:
    /// who misses the change looks at its Rung word in time.
    void set_doorbell(bool connected) noexcept { has_doorbell_.store(connected, std::memory_order_relaxed); }
    [[nodiscard]] bool has_doorbell() const noexcept { return has_doorbell_.load(std::memory_order_relaxed); }
    /// Refuses everybody who would still claim this entry: the server is ending.
    void close_entry(std::uint32_t entry) const;

    [[nodiscard]] std::byte* base() const { return mapping_->base(); }
    [[nodiscard]] std::uint64_t bytes() const { return mapping_->bytes(); }
    [[nodiscard]] const Peer& peer() const { return peer_; }
    /// -1: it has no such descriptor, as its pages are in many places of one.
    [[nodiscard]] base::FilePlace memory() const { return {is_ram_ ? -1 : memory_.get(), memory_offset_}; }
    /// Whether a process of the guest lends the pages.
    [[nodiscard]] bool is_ram() const { return is_ram_; }
    /// Whether the pages are always there, and are nobody's here to give back.
    [[nodiscard]] bool has_others_pages() const { return is_device_ || is_ram_; }
    /// Whether the memory is a memfd of the server's own making.
    [[nodiscard]] bool has_own_memory() const { return memory_offset_ == 0 && !has_others_pages(); }
    [[nodiscard]] const layout::Uuid& uuid() const { return uuid_; }
    [[nodiscard]] std::uint32_t entries() const { return entries_; }
    /// The generation that each entry of the directory begins with here.
    [[nodiscard]] std::uint32_t first_generation(std::uint32_t entry) const { return generations_[entry]; }
    /// Sets memory aside for a part of the segment. Errors: VMRPC_OUT_OF_RESOURCES.
    [[nodiscard]] base::Status commit(const layout::Extent& part) const;
    /// eventfds: what the guest rings, by Vector, and interrupts into it.
    [[nodiscard]] const std::vector<notify::GuardedFd>& bells() const { return bells_; }
    [[nodiscard]] const std::vector<notify::GuardedFd>& interrupts() const { return interrupts_; }

  private:
    Vm() = default;
    base::Status map(std::uint64_t bytes);
    [[nodiscard]] base::Status check_free() const;
    void let_go_of_ram();
    base::Status make_bells();
    void format();

    Peer peer_;
    layout::Uuid uuid_{};
    std::uint32_t entries_ = 0;
    notify::GuardedFd memory_;
    std::uint64_t memory_offset_ = 0;
    bool is_device_ = false;
    bool is_ram_ = false;
    std::vector<std::string> ram_arguments_;     // of the sentinel
    std::unique_ptr<RamPiecesTaken> ram_taken_;  // outlives the mapping
    std::shared_ptr<Mapping> mapping_;
    std::vector<std::uint32_t> generations_;
    std::vector<notify::GuardedFd> bells_;
    std::vector<notify::GuardedFd> interrupts_;
    std::atomic<bool> has_doorbell_{false};
    mutable std::mutex streams_mutex_;
    std::array<std::shared_ptr<RingsByStream>, kStreamKinds> streams_;  // by StreamKind; under streams_mutex_
    Sentinel sentinel_;
};

}  // namespace vmrpc::transport::vm
