// The server's end of a connection.
#pragma once

#include "notify/housekeeper.hpp"
#include "transport/event_sink.hpp"
#include "transport/mapping.hpp"
#include "transport/memfd_pages.hpp"
#include "transport/rung_word.hpp"
#include "transport/transport.hpp"

#include <cstdint>
#include <memory>

namespace vmrpc::transport::local {

struct ServerLinkParts {
    std::shared_ptr<EventSink> sink;
    std::unique_ptr<Place> place;
    std::shared_ptr<Mapping> mapping;
    notify::GuardedFd memory;  // the segment's
    layout::RegionPlan plan{};
    Peer peer;
    std::uint64_t peer_segment_address = 0;
    notify::GuardedFd socket;
    notify::GuardedFd process;  // of the client; may be none
    notify::GuardedFd bell;     // eventfd that the client writes
};

class LocalServerLink final : public ServerLink {
  public:
    explicit LocalServerLink(ServerLinkParts parts);
    ~LocalServerLink() override;

    /// Begins to watch for the client's end. Housekeeping thread. Errors: VMRPC_OUT_OF_RESOURCES.
    base::Status watch_client();

    [[nodiscard]] int socket() const { return parts_.socket.get(); }
    [[nodiscard]] std::byte* segment() const override { return parts_.mapping->base(); }
    [[nodiscard]] const layout::RegionPlan& plan() const override { return parts_.plan; }
    [[nodiscard]] std::uint64_t peer_segment_address() const override { return parts_.peer_segment_address; }
    [[nodiscard]] heap::Pages* pages() noexcept override { return pages_.get(); }
    base::Status prepare(const layout::Extent& part, const Preparation& how) override {
        return prepare_memory(segment() + part.offset, part.bytes, how);
    }
    void ring() noexcept override;
    [[nodiscard]] const Peer& peer() const override { return parts_.peer; }
    [[nodiscard]] int ring_descriptor() const override { return parts_.bell.get(); }
    [[nodiscard]] int memory() const override { return parts_.memory.get(); }
    void hang_up() noexcept override;

  private:
    void on_socket();
    void report_loss();

    ServerLinkParts parts_;
    std::unique_ptr<heap::Pages> pages_ = pages_of(parts_.memory.get(), segment(), parts_.plan.flags);
    RungWriter rung_{0};
    bool lost_ = false;  // housekeeping thread only
    notify::Watch socket_watch_;
    notify::Watch process_watch_;
};

}  // namespace vmrpc::transport::local
