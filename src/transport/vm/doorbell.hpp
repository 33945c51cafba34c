// How a process in a guest rings its host, and is rung by it.
#pragma once

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/result.hpp"
#include "notify/fork_guard.hpp"
#include "transport/vm/device.hpp"
#include "transport/vm/protocol.hpp"
#include "transport/vm/window.hpp"

#include <cstdint>
#include <memory>

namespace vmrpc::transport::vm {

/// How a process is rung.
struct Interrupt {
    notify::GuardedFd descriptor;                // becomes readable; none: it is not rung
    std::uint32_t ring_vector = layout::kLooks;  // as it says in its claim
};

/// Threads: any. Not in forked children.
class Doorbell {
  public:
    Doorbell() = default;
    Doorbell(const Doorbell&) = delete;
    Doorbell& operator=(const Doorbell&) = delete;
    virtual ~Doorbell() = default;

    /// Rings the server; what was published before comes first in its eyes. No system call, but leaves the guest.
    virtual void ring(Vector vector) const noexcept = 0;
    /// How the server rings the process that has this entry of the directory. Errors: those of the system;
    /// VMRPC_NOT_SUPPORTED (a device of too few vectors).
    virtual base::Result<Interrupt> interrupt(std::uint32_t entry) = 0;
    /// Where registers can be mapped from that ring: begins at a page; the device's first register is at
    /// register_offset(). -1: there are none.
    [[nodiscard]] virtual base::FilePlace registers() const = 0;
    [[nodiscard]] virtual std::uint64_t register_offset() const = 0;
};

/// Through sysfs: rings, and is not rung. Errors: VMRPC_OUT_OF_RESOURCES, VMRPC_NOT_PERMITTED.
base::Result<std::unique_ptr<Doorbell>> open_register_doorbell(notify::GuardedFd registers, std::uint64_t offset);

/// Through VFIO: rings and is rung. All processes of a VM use the one or the other: where VFIO has the device, the
/// kernel lets nobody map it through sysfs.
struct VfioDoorbell {
    std::unique_ptr<Doorbell> doorbell;
    /// The device's own memory, which is to be mapped from here then; its descriptor is the doorbell's.
    base::FilePlace memory{-1};
    std::uint64_t memory_bytes = 0;
};

/// Whether the device at a PCI address is to be used through VFIO: it lies behind an IOMMU, and the modules are there.
[[nodiscard]] bool has_vfio(const std::string& pci_address);
/// `proof` is a descriptor of memory that only who may use the device has open. Blocks some 10 ms, until `deadline` at
/// the longest. Errors: those of GuestDoorbell::open().
base::Result<VfioDoorbell> open_vfio_doorbell(const std::string& pci_address, int proof, base::Deadline deadline);

/// The doorbell of a segment whose memory is another device's, open as `proof`: of all ivshmem devices the one that
/// names it. Errors: VMRPC_NO_SERVER (there is none); those of opening it, if it is the only one.
base::Result<std::unique_ptr<Doorbell>> find_doorbell(const layout::Uuid& segment, int proof, base::Deadline deadline);

}  // namespace vmrpc::transport::vm
