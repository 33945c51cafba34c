// The client's end of a connection, in a guest.
#pragma once

#include "notify/housekeeper.hpp"
#include "transport/rung_word.hpp"
#include "transport/transport.hpp"
#include "transport/vm/claim.hpp"
#include "transport/vm/interrupt_wait.hpp"

#include <atomic>
#include <cstdint>
#include <memory>

namespace vmrpc::transport::vm {

struct ClientLinkParts {
    std::unique_ptr<Board> board;
    std::unique_ptr<Claim> claim;  // uses the board
    layout::Extent region{};       // mapped
    layout::RegionPlan plan{};     // checked
    bool rings_doorbell = false;   // else the server looks at its Rung word
    Interrupt interrupt;           // none: this process looks at its own
};

class VmClientLink final : public ClientLink {
  public:
    VmClientLink(ClientLinkParts parts, ClientEvents& events);
    ~VmClientLink() override;

    /// Begins to look for the server's end, now and then. Errors: VMRPC_OUT_OF_RESOURCES.
    base::Status watch_server();

    [[nodiscard]] std::byte* segment() const override { return parts_.board->window->base(); }
    [[nodiscard]] const layout::RegionPlan& plan() const override { return parts_.plan; }
    [[nodiscard]] std::uint64_t peer_segment_address() const override { return parts_.board->server_address; }
    /// On the host this side can commit the file's pages; in a guest the server does.
    [[nodiscard]] heap::Pages* pages() noexcept override { return pages_.get(); }
    /// The device's pages are mapped already, and this system never swaps them.
    base::Status prepare(const layout::Extent& /*part*/, const Preparation& /*how*/) override { return {}; }
    void ring() noexcept override;
    void wait(std::uint32_t seen, base::Deadline deadline) noexcept override;
    void interrupt_wait() noexcept override;

  private:
    [[nodiscard]] layout::ControlPage& control() const;
    [[nodiscard]] bool server_is_open() const;
    bool is_over(std::uint32_t seen) noexcept;
    void look_until_over(std::uint32_t seen, base::Deadline deadline) noexcept;
    void look_soon() noexcept;
    void look();

    ClientLinkParts parts_;
    std::unique_ptr<heap::Pages> pages_;
    ClientEvents& events_;
    RungWriter interrupt_{kInterruptBit};
    RungWriter rung_{0};  // the server's word
    /// The server is gone: no wait sleeps any more. Stored before the interruption; pairs with the load in is_over().
    std::atomic<bool> ended_{false};
    std::unique_ptr<InterruptWait> interrupts_;  // null: this process is not rung
    notify::GuardedFd timer_;
    notify::Watch timer_watch_;  // not touched by callbacks: one may run before the member is assigned
};

}  // namespace vmrpc::transport::vm
