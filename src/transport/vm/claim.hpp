// A guest process's place in the directory.
//
// Processes of one VM exclude each other by a lock that their kernel keeps on a byte of the device's file (fcntl, of
// the open file), and each holds a second one, on the byte with its entry's number, for as long as its claim lives: a
// claim whose byte is not locked belongs to nobody any more (the process and its sentinel were killed together, or the
// VM was restarted), and is ended by whoever comes next.
#pragma once

#include "base/clock.hpp"
#include "base/result.hpp"
#include "transport/transport.hpp"
#include "transport/vm/board.hpp"
#include "transport/vm/sentinel.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace vmrpc::transport::vm {

/// An entry that this process has claimed. Ends its claim when destroyed; its sentinel does if the process dies.
class Claim {
  public:
    /// Takes a free entry and tells the server. Waits while entries are being given back. Errors:
    ///   VMRPC_NO_SERVER          the server has ended
    ///   VMRPC_OUT_OF_RESOURCES   all entries are in use by living processes; no sentinel can be started
    ///   VMRPC_TIMED_OUT
    static base::Result<std::unique_ptr<Claim>> make(const Board& board, const Wishes& wishes, base::Deadline deadline);
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;
    /// The process no longer touches the region. Does nothing in a forked child.
    ~Claim();

    /// Waits for the server's answer; the region's part of the segment. Errors: what the server refused with,
    /// VMRPC_TIMED_OUT, VMRPC_POISONED (an answer that cannot be).
    base::Result<layout::Extent> await_offer(base::Deadline deadline) const;
    /// Says that the region is mapped.
    void mapped() const;
    /// Whether the server can be rung by the doorbell. After await_offer().
    [[nodiscard]] bool server_has_doorbell() const;
    /// How the server rings this process, if it does.
    [[nodiscard]] Interrupt take_interrupt() { return std::move(interrupt_); }

  private:
    enum class Look { kTaken, kWaiting, kFull, kClosed };

    explicit Claim(const Board& board) : board_(board) {}
    base::Result<Look> take_one(const std::string& sentinel, const Wishes& wishes);
    Look look();
    bool is_free(std::uint32_t index) const;
    bool end_of_the_dead(std::uint32_t index) const;
    [[nodiscard]] bool try_lock_byte(std::uint32_t index) const;
    void unlock_byte(std::uint32_t index) const;
    base::Status start_sentinel(const std::string& program);
    std::uint32_t choose_interrupt();
    void publish(const Wishes& wishes);

    const Board& board_;
    bool published_ = false;
    std::uint32_t index_ = 0;
    std::uint32_t generation_ = 0;
    Sentinel sentinel_;
    Interrupt interrupt_;
};

}  // namespace vmrpc::transport::vm
