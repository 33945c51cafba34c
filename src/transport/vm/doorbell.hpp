// How a process in a guest rings its host, and is rung by it.
#pragma once

#include "base/fd.hpp"
#include "base/result.hpp"
#include "notify/fork_guard.hpp"
#include "transport/vm/device.hpp"
#include "transport/vm/protocol.hpp"
#include "transport/vm/window.hpp"

#include <cstdint>
#include <memory>

namespace vmrpc::transport::vm {

/// Threads: any. Not in forked children.
class Doorbell {
  public:
    Doorbell() = default;
    Doorbell(const Doorbell&) = delete;
    Doorbell& operator=(const Doorbell&) = delete;
    virtual ~Doorbell() = default;

    /// Rings the server; what was published before comes first in its eyes. No system call, but leaves the guest.
    virtual void ring(Vector vector) const noexcept = 0;
    /// A nonblocking eventfd that counts when the server interrupts with this vector; none if this doorbell, or a
    /// device of too few vectors, does not do that. Errors: those of the system.
    virtual base::Result<notify::GuardedFd> interrupt(std::uint32_t vector) = 0;
    /// Where the registers can be mapped from: begins at a page; the device's first register is at register_offset().
    [[nodiscard]] virtual base::FilePlace registers() const = 0;
    [[nodiscard]] virtual std::uint64_t register_offset() const = 0;
};

/// Through sysfs: rings, and is not rung. Errors: VMRPC_OUT_OF_RESOURCES, VMRPC_NOT_PERMITTED.
base::Result<std::unique_ptr<Doorbell>> open_register_doorbell(notify::GuardedFd registers, std::uint64_t offset);

/// The doorbell of a segment whose memory is another device's: of all ivshmem devices the one that names it.
/// Errors: VMRPC_NO_SERVER (there is none), VMRPC_NOT_PERMITTED.
base::Result<std::unique_ptr<Doorbell>> find_doorbell(const layout::Uuid& segment);

}  // namespace vmrpc::transport::vm
