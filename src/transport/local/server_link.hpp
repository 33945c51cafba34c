// The server's end of a connection, and what it shares with its listener.
#pragma once

#include "notify/housekeeper.hpp"
#include "transport/local/rung_word.hpp"
#include "transport/mapping.hpp"
#include "transport/transport.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace vmrpc::transport::local {

/// Where events go, for as long as the listener lives; shared by it and its links.
struct EventSink {
    /// Held while an event runs, so that the listener's end waits for it. Recursive: an event may end the listener.
    std::recursive_mutex mutex;
    ListenerEvents* events = nullptr;  // under mutex; null once the listener ends
    /// Places that are taken. relaxed: a count, nothing hangs on its order.
    std::atomic<std::uint32_t> places{0};
};

/// One of the connections that a server takes at most; held from the offer to the end of the link.
class Place {
  public:
    explicit Place(std::shared_ptr<EventSink> sink) : sink_(std::move(sink)) {
        sink_->places.fetch_add(1, std::memory_order_relaxed);
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() { sink_->places.fetch_sub(1, std::memory_order_relaxed); }

  private:
    std::shared_ptr<EventSink> sink_;
};

struct ServerLinkParts {
    std::shared_ptr<EventSink> sink;
    std::unique_ptr<Place> place;
    std::shared_ptr<Mapping> mapping;
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
    void ring() noexcept override;
    [[nodiscard]] const Peer& peer() const override { return parts_.peer; }
    [[nodiscard]] int ring_descriptor() const override { return parts_.bell.get(); }
    void hang_up() noexcept override;

  private:
    void on_socket();
    void report_loss();

    ServerLinkParts parts_;
    RungWriter rung_{0};
    bool lost_ = false;  // housekeeping thread only
    notify::Watch socket_watch_;
    notify::Watch process_watch_;
};

}  // namespace vmrpc::transport::local
