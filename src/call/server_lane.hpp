// A lane as the replying side uses it: taking requests, writing replies.
#pragma once

#include "base/result.hpp"
#include "layout/lane.hpp"
#include "layout/wild.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vmrpc::call {

/// A request that was checked: a private copy, whose frame lies where it says.
struct CheckedRequest {
    layout::RequestBody body;
    std::uint64_t sequence = 0;
    /// The request's frame in shared memory, nullptr if it is inline. Still changing: copy it before reading it.
    const std::byte* stacked_arguments = nullptr;
    /// Where results go that are not inline; nullptr if the requester keeps no room.
    std::byte* stacked_results = nullptr;
};

/// Replier's private state of one lane. One thread at a time.
class ServerLane {
  public:
    ServerLane(layout::Lane& lane, std::byte* segment, layout::Extent stack)
        : lane_(&lane), segment_(segment), stack_(stack) {}

    /// Whether a request, or something that cannot be, is there. Pairs with the requester's release.
    [[nodiscard]] bool pending() const {
        return line().sequence.load_acquire() !=
               (next_ <= layout::kRequestRingLines ? 0 : next_ - layout::kRequestRingLines);
    }

    /// Takes the next request. Requires pending().
    /// Errors: VMRPC_POISONED with the value that broke the protocol.
    base::Result<CheckedRequest> take();

    /// Answers with results, which are copied into the reply or the requester's frame. Requires that they fit: the
    /// caller compared their size with the room in the request.
    void reply(const CheckedRequest& request, const std::byte* results, std::uint32_t result_bytes);
    /// Answers with an error; the text is cut to its room.
    void reply_error(const CheckedRequest& request, vmrpc_status status, std::string_view text);

    /// What this lane remembers of the client's ring-me generation.
    [[nodiscard]] std::uint32_t& ring_seen() { return ring_seen_; }

  private:
    [[nodiscard]] const layout::Request& line() const {
        return lane_->requests.lines[(next_ - 1) % layout::kRequestRingLines];
    }
    [[nodiscard]] base::Status check(CheckedRequest& request) const;
    void publish(const CheckedRequest& request, vmrpc_status status, std::uint32_t bytes);

    layout::Lane* lane_;
    std::byte* segment_;
    layout::Extent stack_;
    std::uint64_t next_ = 1;  // sequence of the next request
    std::uint32_t ring_seen_ = 0;
};

}  // namespace vmrpc::call
