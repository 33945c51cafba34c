// What stands behind "vm:" in an address.
//
//     FOLDER[?memory=…&ring=…&processes=…]     on the host
//     [DEVICE][?memory=…&ring=…]               in a guest
#pragma once

#include "base/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace vmrpc::transport::vm {

/// Where the memory is that both sides map.
enum class Memory {
    kBest,  // in a guest: dax where there is one, else bar; on the host: all
    kDax,   // virtio-pmem or nvdimm, which the guest's kernel shows as /dev/daxN.M: write-back everywhere
    kBar,   // BAR 2 of ivshmem-doorbell
    kRam,   // pages of the guest's process, which the host maps from the file that is the VM's RAM; in a guest only if
            // it is asked for
};

/// How a side that sleeps is woken.
enum class Ring {
    kBest,      // in a guest: doorbell where there is one, else vsock, else serial, else poll; on the host: all
    kDoorbell,  // ivshmem-doorbell: a register out of the guest, MSI-X into it
    kVsock,     // AF_VSOCK streams, through the service's own vhost-user back end
    kSerial,    // virtio-serial ports, one for each process, which QEMU connects to the service
    kPoll,      // nothing: it looks from time to time
};

/// Processes of one VM that can be connected at once, unless the address says another number.
inline constexpr std::uint32_t kDefaultProcesses = 4;
inline constexpr std::uint32_t kMostProcesses = 64;

struct Address {
    std::string place;  // FOLDER or DEVICE
    Memory memory = Memory::kBest;
    Ring ring = Ring::kBest;
    std::uint32_t processes = kDefaultProcesses;
};

/// Errors: VMRPC_BAD_ADDRESS, naming the word that is unknown and those that are known; a ring that memory=ram cannot
/// have.
base::Result<Address> parse_address(const std::string& text);

std::string_view name_of(Memory memory);
std::string_view name_of(Ring ring);

}  // namespace vmrpc::transport::vm
