// The segments in the RAM of one VM, one for each of its processes that lends pages.
#pragma once

#include "notify/housekeeper.hpp"
#include "transport/vm/ram/ram_file.hpp"
#include "transport/vm/ram/ram_protocol.hpp"
#include "transport/vm/served_vm.hpp"

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace vmrpc::transport::vm {

/// A stream to a process of a guest, however it comes. Closed by destruction.
class GuestStream {
  public:
    GuestStream() = default;
    GuestStream(const GuestStream&) = delete;
    GuestStream& operator=(const GuestStream&) = delete;
    virtual ~GuestStream() = default;
    /// Any thread; does not block: what has no room is lost, or ends the stream.
    virtual void send(std::span<const std::byte> bytes) noexcept = 0;
};

/// Housekeeping thread, but for close() and destruction.
class RamHost : public std::enable_shared_from_this<RamHost> {
  public:
    /// `path` is that of the VM's RAM file, which is opened when somebody lends pages; `title` is for messages.
    RamHost(std::shared_ptr<Service> service, std::string path, std::string title, std::uint32_t vm_number);

    /// Serves a process's pages; it is rung on `stream`, which ends when this process has let go of them. Returns a
    /// name for the segment. Errors: those of check_hello(), check_runs(), open_ram_file() and RamSegment::map();
    /// VMRPC_OUT_OF_RESOURCES (the VM has as many segments as the service takes of one); those of ServedVm::start().
    base::Result<std::uint64_t> open(const RamHello& hello, std::span<const RamRun> runs,
                                     std::shared_ptr<GuestStream> stream);
    /// The guest rings. False: there is no such segment any more.
    bool ring(std::uint64_t segment, std::span<const std::byte> vectors);
    /// The process is gone, or wants its pages back: the segment is lost, soon, on this thread.
    void end_soon(std::uint64_t segment);
    /// The VM is gone. May report events, which may end the listener.
    void lose_all();
    /// The listener ends. Any thread.
    void close();
    /// What is wrong with the RAM file by now, if anything, and if it was ever opened.
    [[nodiscard]] base::Status check() const;
    /// Bytes of a segment that the service takes at most.
    [[nodiscard]] std::uint64_t most_bytes() const;
    /// Says in the log why a process is refused: a guest could go on for ever, so only so often.
    void log_refusal(const base::Error& why);

  private:
    using Served = std::map<std::uint64_t, std::shared_ptr<ServedVm>>;

    base::Result<std::shared_ptr<ServedVm>> serve(const RamHello& hello, std::span<const RamRun> runs,
                                                  const std::shared_ptr<GuestStream>& stream);
    base::Status check_count();
    base::Status refresh_file();
    [[nodiscard]] std::shared_ptr<ServedVm> find(std::uint64_t segment);
    void end_those_that_end();

    const std::shared_ptr<Service> service_;
    const std::string path_;
    const std::string title_;
    const std::uint32_t vm_number_;
    RamFile file_;
    Peer peer_;
    std::vector<std::weak_ptr<Vm>> segments_;  // those too that are let go of, but still used
    std::uint64_t last_name_ = 0;
    std::uint32_t refusals_ = 0;
    std::mutex mutex_;
    bool is_closed_ = false;  // under mutex_, as the next ones
    Served served_;
    std::vector<std::shared_ptr<ServedVm>> ending_;
    notify::Watch timer_;
};

/// One stream's talk: the hello, its runs, then rings. Housekeeping thread.
class RamTalk {
  public:
    RamTalk(std::shared_ptr<RamHost> host, std::shared_ptr<GuestStream> stream)
        : host_(std::move(host)), stream_(std::move(stream)) {}
    RamTalk(const RamTalk&) = delete;
    RamTalk& operator=(const RamTalk&) = delete;
    /// The stream has ended: so does the segment.
    ~RamTalk();

    /// False: it is over, and the stream is to be closed; what was answered still goes out.
    bool received(std::span<const std::byte> bytes);

  private:
    [[nodiscard]] std::size_t wanted_bytes() const;
    bool take_hello();
    void answer(const base::Status& status);

    const std::shared_ptr<RamHost> host_;
    std::shared_ptr<GuestStream> stream_;  // until it is answered
    std::vector<std::byte> said_;          // of hello and runs
    std::uint64_t segment_ = 0;            // 0: none yet
};

}  // namespace vmrpc::transport::vm
