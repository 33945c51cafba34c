// vm:… and ivshmem:…: connections between processes of virtual machines and a process of their host, with a stock QEMU
// and a stock guest kernel.
//
// Where the memory is that both sides map, and how a side that sleeps is woken, are two choices (address.hpp).
//
// On the host, `vm:FOLDER`: each NAME.mem in the folder is a VM's memory, which QEMU gives to the guest as a
// virtio-pmem device (folder_listener.hpp); QEMU's ivshmem-doorbell connects to NAME.doorbell. In the guest, `vm:`: a
// process maps /dev/daxN.M, claims an entry of the directory there, and rings the server by a write to a register.
//
// On the host, `ivshmem:PATH`: the memory is the device's own. The server listens on one Unix socket, to which the
// QEMU of each VM connects (-chardev socket,id=iv,path=PATH -device ivshmem-doorbell,chardev=iv,vectors=5), and gets a
// sealed memfd of its own. In the guest, `ivshmem:` or `ivshmem:0000:00:05.0`. The same as `vm:` with memory=bar.
//
// Each VM has a segment of its own, and sees the server only.
//
// Death: of the VM, the end of QEMU's socket; of a client process or of the server, a sentinel (tools/sentinel).
//
// Who may connect a VM is decided by the permissions of files and sockets. A VM is one domain: its processes that may
// open the device can reach each other's regions.
#pragma once

#include "transport/transport.hpp"
#include "transport/vm/address.hpp"

#include <cstdint>
#include <memory>
#include <string_view>

namespace vmrpc::transport::vm {

class Ivshmem {
  public:
    static constexpr std::string_view kScheme = "ivshmem";
    /// Processes of one VM that can be connected at once.
    static constexpr std::uint32_t kEntries = kDefaultProcesses;
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

class VmTransport {
  public:
    static constexpr std::string_view kScheme = "vm";
    /// As transport.hpp says. listen() makes the folder, if there is none. Also VMRPC_NOT_SUPPORTED: the sentinel's
    /// program is not installed.
    static base::Result<std::unique_ptr<Listener>> listen(const ListenRequest& request, ListenerEvents& events);
    static base::Result<std::unique_ptr<ClientLink>> connect(const ConnectRequest& request, ClientEvents& events);
};

static_assert(Transport<VmTransport>);

}  // namespace vmrpc::transport::vm
