// The pages of a heap whose memory only the server can commit: a guest's.
#pragma once

#include "call/client_lane.hpp"
#include "call/endpoint.hpp"
#include "call/pages_calls.hpp"
#include "heap/pages.hpp"
#include "notify/waiters.hpp"

#include <cstdint>
#include <memory>
#include <mutex>

namespace vmrpc::call {

/// Asks the server by calls of reserved functions. They have a lane of their own, the first, whose requests are
/// executed in the order in which they were posted: what is given back need not be waited for, a commit() of the same
/// range comes after it. No other call ever uses that lane: a thread in one may wait for the heap, whose mutex is held
/// here; and nothing here allocates from the heap or frees into it.
class RemotePages final : public heap::Pages {
  public:
    static constexpr std::uint32_t kLane = 0;
    /// Lanes that a connection needs which has such pages.
    static constexpr std::uint32_t kLeastLanes = 2;

    /// Once, before the first use. All of it must outlive this.
    void attach(Endpoint& endpoint, notify::Waiters& waiters, std::int64_t spin_ns);

    /// Waits for the server, in calls of at most kMostPagesBytes; while it executes a function, until that has
    /// returned.
    base::Status commit(layout::Extent range) override;
    bool give_back(layout::Extent range, Wait wait) noexcept override;
    [[nodiscard]] std::uint64_t step_bytes() const noexcept override { return std::uint64_t{2} * 1024 * 1024; }

  private:
    /// Not answered yet, at a time: below what makes a lane refuse calls.
    static constexpr std::uint32_t kMostOutstanding = layout::kReplySlots / 2 - 1;

    base::Status ask(layout::ReservedFunction function, layout::Extent range);
    bool post_trim(layout::Extent range);
    base::Result<Slot> post(layout::ReservedFunction function, layout::Extent range);
    bool await(const Slot& slot);
    base::Status take_reply(const Slot& slot);

    Endpoint* endpoint_ = nullptr;
    notify::Waiters* waiters_ = nullptr;
    std::mutex mutex_;
    std::unique_ptr<ClientLane> lane_;  // under mutex_
};

}  // namespace vmrpc::call
