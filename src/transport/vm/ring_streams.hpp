// A VM's processes that are rung over AF_VSOCK: a stream for each, on which every byte is a ring. What a process says
// first tells whether it has claimed an entry in the VM's segment, or lends pages of its own.
#pragma once

#include "transport/vm/protocol.hpp"
#include "transport/vm/ram/ram_host.hpp"
#include "transport/vm/ring_reader.hpp"
#include "transport/vm/vm.hpp"
#include "transport/vm/vsock/vsock_backend.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

namespace vmrpc::transport::vm {

class RingStreams final : public vsock::VsockEvents, public RingsByStream {
  public:
    /// `ended` is called once, on the housekeeping thread, when QEMU is gone. `vm`, or `ram`, can be none.
    RingStreams(std::weak_ptr<Vm> vm, const layout::Uuid& segment, std::shared_ptr<RamHost> ram,
                std::function<void()> ended);
    ~RingStreams() override;

    /// Serves the QEMU at this socket. Errors: VMRPC_OUT_OF_RESOURCES.
    base::Status start(notify::GuardedFd socket, std::uint64_t guest_cid);
    void ring(std::uint32_t entry) noexcept override;

    bool opened(vsock::StreamId stream, std::uint32_t guest_port, std::uint32_t host_port) override;
    std::size_t received(vsock::StreamId stream, std::span<const std::byte> bytes) override;
    void closed(vsock::StreamId stream) override;
    void ended() override { ended_(); }

  private:
    /// What a stream has said so far of which process it is. Housekeeping thread.
    struct Caller {
        RingReader reader;
        std::optional<std::uint32_t> entry{};  // none: it has not said so yet
        std::unique_ptr<RamTalk> ram{};        // it lends pages
    };
    class Stream;

    std::size_t take(vsock::StreamId stream, Caller& caller, std::span<const std::byte> bytes);
    void know(vsock::StreamId stream, Caller& caller, std::uint32_t entry);
    void forget(vsock::StreamId stream, const Caller& caller);

    const std::weak_ptr<Vm> vm_;
    const layout::Uuid segment_;
    const std::shared_ptr<RamHost> ram_;
    const std::function<void()> ended_;
    std::map<vsock::StreamId, Caller> callers_;  // housekeeping thread
    std::mutex mutex_;
    std::map<std::uint32_t, vsock::StreamId> streams_;  // by entry; under mutex_
    std::shared_ptr<vsock::VsockBackend> backend_;
};

}  // namespace vmrpc::transport::vm
