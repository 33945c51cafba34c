// The further segments of one connection, on the client's side.
#pragma once

#include "base/result.hpp"
#include "transport/further_segment.hpp"
#include "transport/local/protocol.hpp"
#include "transport/local/socket.hpp"

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

namespace vmrpc::transport::local {

/// Asks the server for segments, and maps them: this side's, and the server's. The server's messages come on the
/// housekeeping thread.
class ClientSegments {
  public:
    static constexpr std::int64_t kAddLimitNs = 5'000'000'000;

    /// `equal_addresses`: this side wishes them.
    ClientSegments(int socket, bool equal_addresses) : socket_(socket), equal_addresses_(equal_addresses) {}

    /// A message of the server's. An error is the reason why the connection is over. Housekeeping thread.
    base::Status take(std::span<const std::byte> message, notify::GuardedFd memory);
    /// The server is gone: who waits in add() waits no more. Any thread.
    void stop();

    // As Link. Any thread.
    void watch(SegmentEvents& events);
    base::Result<std::shared_ptr<const AddedSegment>> add(const SegmentWish& what);
    void end(heap::HeapId heap);

  private:
    using Segment = std::shared_ptr<const AddedSegment>;
    /// An attempt of this side's.
    struct Adding {
        std::uint32_t token;
        Segment mapped;  // the server has yet to say that it is ready
        std::optional<base::Result<Segment>> result;
    };

    base::Status on_ask(const HeapAsk& ask) const;
    base::Status on_offer(const HeapOffer& offer, notify::GuardedFd memory);
    base::Status on_own_offer(const HeapOffer& offer, notify::GuardedFd memory);
    base::Status on_servers_offer(const HeapOffer& offer, notify::GuardedFd memory);
    base::Status on_ready(const HeapWord& ready);
    base::Status on_end(heap::HeapId heap);
    base::Status wish(std::uint32_t token, layout::Side side, const SegmentWish& what) const;
    [[nodiscard]] base::Result<std::shared_ptr<AddedSegment>> map(const HeapOffer& offer,
                                                                  notify::GuardedFd memory) const;
    base::Status answer(heap::HeapId heap, const base::Result<std::shared_ptr<AddedSegment>>& mapped) const;
    base::Status say(MessageKind kind, heap::HeapId heap) const;
    void resolve(base::Result<Segment> result);

    const int socket_;
    const bool equal_addresses_;
    std::mutex mutex_;  // of what follows; taken before those of `events_`
    std::condition_variable answered_;
    SegmentEvents* events_ = nullptr;
    std::map<heap::HeapId, Segment> servers_;
    std::uint32_t last_token_ = 0;
    std::optional<Adding> adding_;
    bool is_stopped_ = false;
};

}  // namespace vmrpc::transport::local
