// The client's end of a connection.
#pragma once

#include "notify/housekeeper.hpp"
#include "transport/local/client_segments.hpp"
#include "transport/mapping.hpp"
#include "transport/memfd_pages.hpp"
#include "transport/rung_word.hpp"
#include "transport/transport.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

namespace vmrpc::transport::local {

struct ClientLinkParts {
    std::shared_ptr<Mapping> mapping;
    notify::GuardedFd memory;   // the segment's
    layout::RegionPlan plan{};  // checked
    std::uint64_t server_address = 0;
    bool equal_addresses = false;  // wished by this side
    notify::GuardedFd socket;
    notify::GuardedFd process;  // of the server; may be none
    notify::GuardedFd bell;     // the server's eventfd
};

class LocalClientLink final : public ClientLink {
  public:
    LocalClientLink(ClientLinkParts parts, ClientEvents& events);
    ~LocalClientLink() override;

    /// Begins to watch for the server's end. Errors: VMRPC_OUT_OF_RESOURCES.
    base::Status watch_server();

    [[nodiscard]] std::byte* segment() const override { return parts_.mapping->base(); }
    [[nodiscard]] const layout::RegionPlan& plan() const override { return parts_.plan; }
    [[nodiscard]] std::uint64_t peer_segment_address() const override { return parts_.server_address; }
    [[nodiscard]] heap::Pages* pages() noexcept override { return pages_.get(); }
    base::Status prepare(const layout::Extent& part, const Preparation& how) override {
        return prepare_memory(segment() + part.offset, part.bytes, how);
    }
    void ring() noexcept override;
    void wait(std::uint32_t seen, base::Deadline deadline) noexcept override;
    void interrupt_wait() noexcept override;
    void watch_segments(SegmentEvents& events) override { segments_.watch(events); }
    base::Result<std::shared_ptr<const AddedSegment>> add_segment(const SegmentWish& wish) override {
        return segments_.add(wish);
    }
    void end_segment(heap::HeapId heap) override { segments_.end(heap); }

  private:
    [[nodiscard]] layout::Rung& rung() const;
    void on_socket();
    void look_again();
    void on_end();

    ClientLinkParts parts_;
    std::unique_ptr<heap::Pages> pages_ = pages_of(parts_.memory.get(), segment(), parts_.plan.flags);
    ClientEvents& events_;
    ClientSegments segments_{parts_.socket.get(), parts_.equal_addresses};
    RungWriter interrupt_{kInterruptBit};
    /// The server is gone: no wait sleeps any more. Stored (seq_cst) before the interruption; pairs with the load in
    /// wait(): one that still finds false has loaded its `seen` before the interruption, and does not sleep either.
    std::atomic<bool> ended_{false};
    std::mutex watch_mutex_;
    notify::Watch socket_watch_;   // under watch_mutex_: its callback arms it
    notify::Watch process_watch_;  // not touched by callbacks: one may run before the member is assigned
};

}  // namespace vmrpc::transport::local
