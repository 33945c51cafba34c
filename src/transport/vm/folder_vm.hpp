// One VM of a service's folder: NAME.mem is its memory, NAME.ram its RAM, of which its processes lend pages; each VM
// has one of them, or both. NAME.doorbell, NAME.vsock, NAME.serial and NAME.poll are the sockets at which its QEMU
// arrives, NAME.doorbell.qemu and NAME.vsock.qemu those at which it waits for the service.
#pragma once

#include "transport/vm/acceptor.hpp"
#include "transport/vm/address.hpp"
#include "transport/vm/ring_streams.hpp"
#include "transport/vm/serial_ports.hpp"
#include "transport/vm/session.hpp"

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

namespace vmrpc::transport::vm {

/// Which file it is.
struct FileIdentity {
    dev_t device = 0;
    ino_t inode = 0;
    friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

/// Housekeeping thread, or under the sink's mutex before any event; close() and destruction: any, without that mutex.
class FolderVm : public std::enable_shared_from_this<FolderVm> {
  public:
    /// What it has: the memory as a file in the folder tells; its RAM may come later.
    struct Has {
        bool memory = false;
        bool ram = false;  // the service's address allows it
    };

    /// `stem` is FOLDER/NAME.
    FolderVm(std::shared_ptr<Service> service, std::string stem, Has has);

    /// Begins to serve it. Errors: those of open_memory_file(); VMRPC_ADDRESS_IN_USE (another server has it, or one
    /// that has died still tells so), VMRPC_OUT_OF_RESOURCES.
    base::Status start(Ring ring);
    /// What is wrong with the file by now, if anything: replaced, or cut off.
    [[nodiscard]] base::Status check() const;
    /// Connects to its QEMU, if that waits for the service.
    void meet_waiting_qemu();
    /// Whether a QEMU is connected.
    [[nodiscard]] bool is_alive() const {
        return doorbell_ != nullptr || streams_ != nullptr || ports_ != nullptr || line_ != nullptr;
    }
    /// It is not served any more: its connections are lost. May report events, which may end the listener.
    void end();
    /// The listener ends.
    void close();

  private:
    class Line;

    void take_number();
    base::Status open_memory();
    base::Status open_doors(Ring ring);
    [[nodiscard]] base::Status check_memory() const;
    void lose_all();
    void stop_all();
    base::Result<std::unique_ptr<Acceptor>> accept_at(const std::string& suffix,
                                                      void (FolderVm::*accepted)(notify::GuardedFd));
    void on_doorbell(notify::GuardedFd socket);
    void on_vsock(notify::GuardedFd socket);
    void on_serial(notify::GuardedFd socket);
    void on_line(notify::GuardedFd socket);
    [[nodiscard]] std::shared_ptr<SerialPorts> make_ports();
    void turn_away(const notify::GuardedFd& socket) const;

    std::shared_ptr<Service> service_;
    const std::string stem_;
    const Has has_;
    std::string title_;  // for messages
    std::uint32_t number_ = 0;
    FileIdentity identity_;
    std::uint64_t file_bytes_ = 0;
    std::shared_ptr<ServedVm> served_;  // none without memory
    std::shared_ptr<RamHost> ram_;      // none without RAM
    std::unique_ptr<Acceptor> doorbell_door_;
    std::unique_ptr<Acceptor> vsock_door_;
    std::unique_ptr<Acceptor> serial_door_;
    std::unique_ptr<Acceptor> line_door_;
    std::shared_ptr<Session> doorbell_;
    std::shared_ptr<RingStreams> streams_;
    std::shared_ptr<SerialPorts> ports_;  // none while there is no port
    std::shared_ptr<Line> line_;
};

}  // namespace vmrpc::transport::vm
