// The server's end of a connection.
#pragma once

#include "notify/housekeeper.hpp"
#include "transport/event_sink.hpp"
#include "transport/local/server_segments.hpp"
#include "transport/mapping.hpp"
#include "transport/memfd_pages.hpp"
#include "transport/rung_word.hpp"
#include "transport/transport.hpp"

#include <cstdint>
#include <memory>
#include <mutex>

namespace vmrpc::transport::local {

struct ServerLinkParts {
    std::shared_ptr<EventSink> sink;
    std::unique_ptr<Place> place;
    std::shared_ptr<Mapping> mapping;
    notify::GuardedFd memory;  // the segment's
    layout::RegionPlan plan{};
    Peer peer;
    std::uint64_t peer_segment_address = 0;
    SegmentTerms segment_terms;
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
    [[nodiscard]] base::FilePlace memory() const override { return parts_.memory.get(); }
    void hang_up() noexcept override;
    void watch_segments(SegmentEvents& events) override { segments_.watch(events); }
    base::Result<std::shared_ptr<const AddedSegment>> add_segment(const SegmentWish& wish) override {
        return segments_.add(wish);
    }
    void end_segment(heap::HeapId heap) override { segments_.end(heap); }

  private:
    void on_socket();
    void look_again();
    void report_loss();
    void report_ended(heap::HeapId heap);

    ServerLinkParts parts_;
    std::unique_ptr<heap::Pages> pages_ = pages_of(parts_.memory.get(), segment(), parts_.plan.flags);
    ServerSegments segments_{parts_.socket.get(), parts_.mapping->base(), parts_.segment_terms,
                             [this](heap::HeapId heap) { report_ended(heap); }};
    RungWriter rung_{0};
    bool lost_ = false;  // housekeeping thread only
    std::mutex watch_mutex_;
    notify::Watch socket_watch_;  // under watch_mutex_: its callback arms it
    notify::Watch process_watch_;
};

}  // namespace vmrpc::transport::local
