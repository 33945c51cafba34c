// What `qemu-args` and `libvirt-xml` are asked for, and what they settle: one VM of one service, with its memory made.
#pragma once

#include "vmrpc/vm/address.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace tool {

inline constexpr std::uint64_t kMib = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kGib = std::uint64_t{1} << 30;

/// The device that carries the memory (memory=dax).
enum class DaxDevice { kVirtioPmem, kNvdimm };
/// Whose the vsock device is (ring=vsock): the host kernel's, or the service's (vhost-user).
enum class VsockBy { kKernel, kService };

/// As they are on the command line.
struct VmWishes {
    std::string address;
    std::string name;
    std::optional<std::uint64_t> segment_bytes;
    std::optional<unsigned> processes;
    std::optional<std::uint64_t> ram_bytes;
    std::optional<std::uint32_t> cid;
    std::optional<VsockBy> vsock_by;
    DaxDevice device = DaxDevice::kVirtioPmem;
    bool waits = false;  // QEMU for the service
    unsigned mode = 0660;
};

struct VmSetup {
    std::string name;
    std::string folder;  // absolute
    VmMemory memory = VmMemory::kDax;
    VmRing ring = VmRing::kDoorbell;
    unsigned processes = 0;
    DaxDevice device = DaxDevice::kVirtioPmem;
    VsockBy vsock_by = VsockBy::kService;
    std::optional<std::uint32_t> cid;
    bool waits = false;
    std::optional<std::uint64_t> ram_bytes;
    std::string ram_path;     // with memory=ram: the file that is all of ram_bytes
    std::string memory_path;  // these four with memory=dax
    std::uint64_t file_bytes = 0;
    std::uint64_t segment_bytes = 0;
    std::string uuid;
    bool was_made = false;  // the file of either, by this command

    /// FOLDER/NAME.KIND
    [[nodiscard]] std::string path_of(const char* kind) const;
    /// That to which the VM's ivshmem-doorbell connects, or at which it waits, if it has one.
    [[nodiscard]] std::string doorbell_path() const;
    [[nodiscard]] bool has_doorbell() const;
    /// MSI-X vectors of the doorbell: one for each process, and the directory's.
    [[nodiscard]] unsigned vectors() const { return processes + 1; }
    /// What QEMU's maxmem must be above the RAM, in MiB.
    [[nodiscard]] std::uint64_t room_mib() const;
    /// Whether QEMU has a device that its service must answer before the VM starts.
    [[nodiscard]] bool needs_service() const { return has_doorbell() || needs_shared_ram(); }
    /// RAM that the service maps as well.
    [[nodiscard]] bool needs_shared_ram() const { return ring == VmRing::kVsock && vsock_by == VsockBy::kService; }
};

/// Checks the wishes; makes the folder and, with memory=dax and memory=ram, the VM's file where they are missing. A
/// file that is there is kept. Throws Failure: a wish that cannot be, a file of another size, or one that cannot be
/// made.
[[nodiscard]] VmSetup settle(const VmWishes& wishes);

}  // namespace tool
