// ivshmem:…: connections between processes of virtual machines and a process of their host, through QEMU's device of
// that name.
//
// On the host, `ivshmem:PATH`: the server listens on a Unix socket, to which QEMU connects when a VM starts
// (-chardev socket,id=iv,path=PATH -device ivshmem-doorbell,chardev=iv,vectors=2). Each VM gets a sealed memfd of its
// own as its device's memory, with a directory of a few regions, and sees the server only. In the guest, `ivshmem:`
// or `ivshmem:0000:00:05.0`: a process maps the device's BAR 2 through sysfs, which needs root or files that root has
// opened to others, claims an entry of the directory, and rings the server by a write to BAR 0. It waits for its
// replies by looking: interrupts into the guest have their place (kVmPeer's vectors) but are not used yet.
//
// Death: of the VM, the end of QEMU's socket; of a client process or of the server, a sentinel (tools/sentinel).
//
// Who may connect a VM is decided by the socket file's permissions. A VM is one domain: its processes that may open
// the device can reach each other's regions.
#pragma once

#include "transport/transport.hpp"

#include <cstdint>
#include <memory>
#include <string_view>

namespace vmrpc::transport::vm {

class Ivshmem {
  public:
    static constexpr std::string_view kScheme = "ivshmem";
    /// Processes of one VM that can be connected at once.
    static constexpr std::uint32_t kEntries = 4;
    static constexpr std::uint64_t kDefaultSegmentBytes = std::uint64_t{1} << 30;
    static constexpr std::uint64_t kStackBytes = std::uint64_t{512} * 1024;
    /// What connected is let go if it has not read what it was sent by then. Generous: QEMU may first pin all of a
    /// large guest's memory.
    static constexpr std::int64_t kReadLimitNs = 30'000'000'000;

    /// As transport.hpp says. Also VMRPC_NOT_SUPPORTED: the sentinel's program is not installed.
    static base::Result<std::unique_ptr<Listener>> listen(const ListenRequest& request, ListenerEvents& events);
    /// The same with another limit for reading.
    static base::Result<std::unique_ptr<Listener>> listen(const ListenRequest& request, ListenerEvents& events,
                                                          std::int64_t read_limit_ns);
    static base::Result<std::unique_ptr<ClientLink>> connect(const ConnectRequest& request, ClientEvents& events);
};

static_assert(Transport<Ivshmem>);

}  // namespace vmrpc::transport::vm
