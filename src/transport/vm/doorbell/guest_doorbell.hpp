// An ivshmem device's doorbell and interrupts, in a process of a guest.
//
// The memory that they tell of need not be the device's own: it may be what another device shares (DAX).
//
// In a VM where one process has this, no process maps the device's registers through sysfs (resource0): the kernel
// refuses it, and revokes mappings that are there, so that touching them raises SIGBUS. The same goes for the memory
// (resource2) as soon as one process maps that through device_descriptor(). So all use either the one or the other.
#pragma once

#include "base/clock.hpp"
#include "base/result.hpp"
#include "notify/fork_guard.hpp"
#include "transport/vm/doorbell/broker_client.hpp"
#include "transport/vm/doorbell/vfio_device.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

namespace vmrpc::transport::vm {

/// The device as its broker hands it out. Any number of processes have one at the same time. Threads: all functions
/// from any. A forked child must not use it: there it does nothing, and its functions fail.
class GuestDoorbell {
  public:
    /// Opens the device at a PCI address through its broker, which is started if need be. `proof` is a descriptor, open
    /// for reading and writing, of the memory that this process shares with the host (/dev/daxN.M, or the device's
    /// resource2), or -1: it is needed where the broker is another user's and this process is not root's. Blocks until
    /// the device is open, some 10 ms if the broker must be started. Errors: see BrokerClient::connect.
    static base::Result<std::unique_ptr<GuestDoorbell>> open(const std::string& pci_address, int proof,
                                                             base::Deadline deadline);
    GuestDoorbell(const GuestDoorbell&) = delete;
    GuestDoorbell& operator=(const GuestDoorbell&) = delete;
    ~GuestDoorbell();

    /// Interrupt vectors of this VM, from 0 on.
    [[nodiscard]] std::uint32_t vectors() const { return vectors_; }

    /// A vector's eventfd, non-blocking: poll it, then read it; an interrupt whose reader is not there yet is not lost.
    /// Those who ask for the same vector share one, and one of them reads an interrupt: give each process its own. What
    /// an earlier owner of the vector did not read is still there. It works for as long as this object, or that of any
    /// process, lives. Waits for the broker, up to 10 s. Errors: VMRPC_BAD_ARGUMENT (no such vector), VMRPC_PEER_LOST
    /// (the broker is gone), VMRPC_TIMED_OUT, VMRPC_POISONED, VMRPC_CLOSED (in a forked child).
    base::Result<notify::GuardedFd> interrupt(std::uint32_t vector);

    /// Rings a vector of a peer of the device's: all that this thread has stored before is seen by who is woken. Never
    /// blocks. No system call, but leaves the guest; where another device's registers lie in the same page, one system
    /// call. Works after the broker's end too.
    void ring(std::uint32_t peer, std::uint32_t vector) const noexcept;

    /// The device's VFIO descriptor, this object's, and where in it BAR 0 and BAR 2 are to be mapped from: each begins
    /// at a page.
    [[nodiscard]] int device_descriptor() const { return device_.get(); }
    [[nodiscard]] VfioRegion registers() const { return registers_; }
    [[nodiscard]] VfioRegion memory() const { return memory_; }
    /// Whether ring() is a store and no system call.
    [[nodiscard]] bool is_mapped() const { return page_ != nullptr; }

    /// Hangs up (POLLHUP) when the broker is gone: poll it for no event. Interrupts and ring() still work then, but
    /// this process should destroy its object, with what it has mapped of device_descriptor(), and open another: no new
    /// broker can open the device before all processes have.
    [[nodiscard]] int broker_descriptor() const { return broker_.socket(); }

  private:
    GuestDoorbell(BrokerClient broker, BrokerReply opened);
    base::Status check(const std::string& pci_address) const;
    void map_registers();

    mutable std::mutex mutex_;  // guards what is sent through broker_
    BrokerClient broker_;
    notify::GuardedFd device_;
    std::uint32_t vectors_;
    VfioRegion registers_;
    VfioRegion memory_;
    std::byte* page_ = nullptr;  // BAR 0
    std::uint32_t generation_;
};

}  // namespace vmrpc::transport::vm
