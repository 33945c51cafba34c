// Calls in flight whose callers went on: what their tokens mean.
#pragma once

#include "base/clock.hpp"
#include "call/client_frame.hpp"
#include "layout/lane.hpp"

#include <vmrpc/vmrpc.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

namespace vmrpc::call {

class ClientConnection;
class ClientLane;

/// One such call. It stands for one reply slot of a lane. Belongs to the lane's thread until the call is posted, then
/// to who holds the token; if that is to be told of the reply, to the thread that takes it off the lane's watched
/// calls. What other threads may look at meanwhile is atomic.
struct PendingCall {
    /// Odd while a call is in flight: a token with another serial means a call whose answer was taken, or whose
    /// connection was closed. Relaxed: who may use a token was handed it by other means.
    std::atomic<std::uint64_t> serial{0};
    std::atomic<std::uint64_t> sequence{0};  // of its request; relaxed: compared again by who takes the call
    std::atomic<std::int64_t> deadline_ns{base::Deadline::kNever};  // likewise
    std::atomic<std::uint64_t> cancelled{0};  // the sequence that another thread wishes to cancel; see Elsewhere
    const Function* function = nullptr;
    std::uint32_t slot = 0;
    bool is_watched = false;       // `then` is to be called
    std::byte* results = nullptr;  // where they will lie; nullptr: in the reply's line
    ClientConnection* client = nullptr;
    ClientLane* lane = nullptr;
    void (*then)(void* context) = nullptr;
    void* context = nullptr;
    std::unique_ptr<CopiesIn> copies;                            // of spans that did not lie in the heap
    std::array<void*, VMRPC_IMPL_MAX_ARGUMENTS> written_back{};  // places of in/out arguments, by argument

    [[nodiscard]] bool is_in_flight() const { return serial.load(std::memory_order_relaxed) % 2 != 0; }
    void begin_next() { serial.store(serial.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }
};

/// Makes a token of a call in flight, in one store: who copies it loads it whole, and what is stored in two parts and
/// loaded as one waits until all stores before it, those to lines that the peer has too, are done.
inline void put_token(vmrpc_token& token, PendingCall& call) {
    using Words [[gnu::vector_size(16)]] = std::uint64_t;
    static_assert(sizeof token == sizeof(Words) && offsetof(vmrpc_token, serial) == sizeof(std::uint64_t));
    const Words words{reinterpret_cast<std::uintptr_t>(&call), call.serial.load(std::memory_order_relaxed)};
    std::memcpy(&token, &words, sizeof token);
}

/// Those of one lane.
using PendingCalls = std::array<PendingCall, layout::kReplySlots>;

/// Gives them back, to be used for another lane.
struct ReusePendingCalls {
    void operator()(PendingCalls* calls) const noexcept;
};
using OwnPendingCalls = std::unique_ptr<PendingCalls, ReusePendingCalls>;

/// Never freed, and their serials only grow: a token can be asked about for as long as the process lives, whatever
/// became of its connection.
OwnPendingCalls take_pending_calls();

}  // namespace vmrpc::call
