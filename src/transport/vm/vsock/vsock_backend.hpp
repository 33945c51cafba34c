// The back end of one VM's `-device vhost-user-vsock-pci`: an ordinary process of the guest connects an AF_VSOCK stream
// to CID 2, and talks to this process. For hosts whose kernel has no vhost-vsock.
//
// Meant for rings and small messages: one byte wakes, a stream's end tells of the process's death.
#pragma once

#include "notify/fork_guard.hpp"
#include "notify/housekeeper.hpp"
#include "transport/vm/vsock/vhost_user.hpp"
#include "transport/vm/vsock/vsock_device.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

namespace vmrpc::transport::vm::vsock {

/// What a VM's streams bring. All on the housekeeping thread, one at a time, so that they must not block. They may call
/// everything of VsockBackend, stop() too. None throws.
class VsockEvents {
  public:
    VsockEvents() = default;
    VsockEvents(const VsockEvents&) = delete;
    VsockEvents& operator=(const VsockEvents&) = delete;
    virtual ~VsockEvents() = default;

    /// A process of the guest, at `guest_port` there, connects to `host_port`. True: it is let in; what is sent from
    /// now on, even before this returns, reaches it. False: its connect() fails with ECONNRESET, and nothing more is
    /// heard of the stream.
    virtual bool opened(StreamId stream, std::uint32_t guest_port, std::uint32_t host_port) = 0;
    /// Bytes from the guest, as they come: what was sent at once may come in pieces. They are gone when this returns.
    /// Returns how many of them the consumer is done with. The others it has kept itself, and says so by consumed()
    /// when it is done with them; a stream that has kReceiveBytes of these outstanding cannot send, and the process
    /// waits.
    virtual std::size_t received(StreamId stream, std::span<const std::byte> bytes) = 0;
    /// There is room again, after send() has returned VMRPC_BUSY.
    virtual void sendable(StreamId stream) { static_cast<void>(stream); }
    /// The process has closed the stream, in one direction or both, or has died, or its guest's driver was started
    /// anew. The last event of the stream; there is none if close() came first.
    virtual void closed(StreamId stream) = 0;
    /// QEMU is gone, or it or the guest has broken the protocol; the log says which. After closed() for each stream;
    /// the last event of all. The guest is not told: its streams stay silent until QEMU is restarted.
    virtual void ended() = 0;
};

/// Threads: any for everything but the constructor and start(). Owned by shared_ptr. In a forked child it is dead:
/// nothing has an effect there.
class VsockBackend : public std::enable_shared_from_this<VsockBackend>, private RingOwner {
  public:
    /// How long the first message, and the rest of one that has begun, may take.
    static constexpr std::int64_t kMessageLimitNs = 5'000'000'000;

    /// `socket`: a stream's, non-blocking, that a QEMU has connected. `guest_cid` is the guest's own: 3 or more, and
    /// below 2^32 - 1. `events` outlives this, or the return of stop(). Nothing happens before start().
    VsockBackend(notify::GuardedFd socket, std::uint64_t guest_cid, VsockEvents& events,
                 std::int64_t message_limit_ns = kMessageLimitNs);
    VsockBackend(const VsockBackend&) = delete;
    VsockBackend& operator=(const VsockBackend&) = delete;
    ~VsockBackend() override;

    /// From now on QEMU is answered. Once; does not block. Errors, after which there are no events: VMRPC_BAD_ARGUMENT
    /// (no such CID), VMRPC_OUT_OF_RESOURCES.
    base::Status start();
    /// Disconnects. After its return no event runs or will run, unless it was called by one. Waits for a running event:
    /// not under a lock that events take. The guest is not told.
    void stop();

    /// Sends these bytes, as one with those before them. Never blocks: it waits for a mutex at most, which is held for
    /// the time of some packets' copying. Costs little: the bytes go straight into the guest's ring, and one write to
    /// an eventfd interrupts it. Errors: VMRPC_PEER_LOST (the stream has ended, or QEMU has), VMRPC_BUSY (the process
    /// does not read: more than kSendBytes would wait; sendable() follows; for a ring it is success, as a ring waits
    /// already), VMRPC_BAD_ARGUMENT (more than kSendBytes).
    base::Status send(StreamId stream, std::span<const std::byte> bytes);
    /// Ends a stream. What was sent still reaches the process if it reads; then it reads the stream's end. An event
    /// that is on its way may still come, on the housekeeping thread itself none. Does not block, as send().
    void close(StreamId stream);
    /// The consumer is done with bytes that received() has brought and has not returned. Does not block, as send().
    void consumed(StreamId stream, std::size_t bytes);

    /// "VM with CID 5 (QEMU's pid 12, uid 1000)", for messages.
    [[nodiscard]] const std::string& title() const { return title_; }

  private:
    void set_memory(std::unique_ptr<GuestMemory> memory) override;
    void start_ring(std::uint32_t index, const RingPlace& place, std::uint16_t next) override;
    std::uint16_t stop_ring(std::uint32_t index) override;
    base::Status set_kick(std::uint32_t index, notify::GuardedFd kick) override;
    void set_call(std::uint32_t index, notify::GuardedFd call) override;

    // What the housekeeping thread watches. Watches are declared last, so that they end before their descriptors close.
    struct Watched {
        notify::GuardedFd socket;
        std::array<notify::GuardedFd, kRings> kicks{};
        std::array<notify::Watch, kRings> kick_watches{};
        notify::Watch socket_watch{};
        notify::Watch wake_watch{};
        notify::Watch message_limit{};
    };

    std::function<void()> callback(void (VsockBackend::*function)());
    base::Status watch();
    base::Status limit_message();
    void on_socket();
    void on_message_limit();
    void work();
    base::Result<Event> next_event();
    void tell(const Event& event);
    void end(const base::Error& error);
    [[nodiscard]] Watched disconnect();
    void flush();
    void interrupt(std::uint32_t ring);
    void wake() const;

    [[nodiscard]] bool is_of_this_process() const { return generation_ == notify::process_generation(); }

    const std::uint32_t generation_ = notify::process_generation();
    const std::string title_;
    const std::uint64_t guest_cid_;
    const std::int64_t message_limit_ns_;

    // Held while a callback of the housekeeping thread runs, so that stop() waits for it; recursive, as events may
    // stop. Guards what follows. Taken before mutex_. No Watch ends under it on another thread: its callback may wait
    // for it.
    std::recursive_mutex running_;
    VsockEvents* events_;  // null: over
    Watched watched_;
    VhostUser vhost_user_;
    bool is_limited_ = false;
    std::array<std::byte, kReceiveBytes> received_{};

    notify::GuardedFd wake_;  // an eventfd: makes the housekeeping thread work(); open until destruction

    std::mutex mutex_;  // guards what follows; held briefly, and over no call of the consumer's
    VsockDevice device_;
    std::array<notify::GuardedFd, kRings> calls_;
    std::optional<base::Error> broken_;  // what a send found wrong with the ring; the housekeeping thread ends it
    bool is_over_ = false;
};

}  // namespace vmrpc::transport::vm::vsock
