// The further segments of one connection, on the server's side, where their memory is made.
#pragma once

#include "base/result.hpp"
#include "layout/segment.hpp"
#include "transport/further_segment.hpp"
#include "transport/local/protocol.hpp"
#include "transport/local/socket.hpp"

#include <array>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

namespace vmrpc::transport::local {

/// What a connection has agreed on at its beginning.
struct SegmentTerms {
    bool equal_addresses = false;         // both sides wish them
    std::uint64_t most_client_bytes = 0;  // of all segments with an arena of the client's
};

/// Makes segments, for both sides, and takes them away. The client's messages come on the housekeeping thread; whatever
/// they say, the worst is that the connection ends.
class ServerSegments {
  public:
    /// From asking the client to its having mapped the segment.
    static constexpr std::int64_t kAddLimitNs = 1'000'000'000;

    /// `segment_0` is mapped for as long as this lives. `report_ended` is called on the housekeeping thread, without a
    /// lock, for a heap that the client has given up.
    ServerSegments(int socket, std::byte* segment_0, const SegmentTerms& terms,
                   std::function<void(heap::HeapId)> report_ended)
        : socket_(socket), segment_0_(segment_0), terms_(terms), report_ended_(std::move(report_ended)) {}

    /// A message of the client's. An error is the reason why it is to be let go. Housekeeping thread.
    base::Status take(std::span<const std::byte> message);
    /// The client is gone: who waits in add() waits no more. Any thread.
    void stop();

    // As Link. Any thread.
    void watch(SegmentEvents& events);
    base::Result<std::shared_ptr<const AddedSegment>> add(const SegmentWish& wish);
    void end(heap::HeapId heap);

  private:
    enum class State {
        kFree,
        kOffered,  // to the client, which has not mapped it yet
        kInUse,
        kEnding,  // a side has given it up, the other one may still use it
    };
    struct Entry {
        State state = State::kFree;
        std::shared_ptr<AddedSegment> segment;
    };
    /// An attempt of this side's.
    struct Asking {
        SegmentWish wish;
        std::uint32_t token;
        heap::HeapId offered = 0;
        std::optional<base::Result<std::shared_ptr<const AddedSegment>>> result;
    };

    base::Status on_wish(const HeapWish& wish);
    base::Status on_mapped(const HeapMapped& mapped);
    base::Status on_end(heap::HeapId heap, std::unique_lock<std::mutex>& lock);
    base::Status on_ended(heap::HeapId heap);
    base::Status answer_client(const HeapWish& wish);
    base::Status answer_to_asking(const HeapWish& wish);
    base::Status finish_clients(Entry& entry);
    base::Status check_clients_wish(const HeapWish& wish) const;
    base::Result<HeapOffer> make(const HeapWish& wish, layout::Side side, std::uint64_t arena_bytes);
    base::Result<std::uint32_t> free_index() const;
    base::Status map(AddedSegment& segment, const HeapWish& wish, bool equal_addresses, const layout::Uuid& uuid);
    void note(const AddedSegment& segment) const;
    void forget(Entry& entry) noexcept;
    Entry* find(heap::HeapId heap);
    void resolve_asking(base::Result<std::shared_ptr<const AddedSegment>> result);
    void say(MessageKind kind, heap::HeapId heap) const;

    const int socket_;
    std::byte* const segment_0_;
    const SegmentTerms terms_;
    const std::function<void(heap::HeapId)> report_ended_;

    std::mutex mutex_;  // of what follows; taken before those of `events_`
    std::condition_variable answered_;
    SegmentEvents* events_ = nullptr;
    std::array<Entry, layout::kFurtherEntries> entries_;  // by index - 1
    std::uint32_t last_serial_ = 0;
    std::uint32_t last_token_ = 0;
    std::optional<Asking> asking_;
    bool is_stopped_ = false;
};

}  // namespace vmrpc::transport::local
