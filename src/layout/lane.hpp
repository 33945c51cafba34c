// A lane: the pair of rings that one client thread owns at a time. See docs/LAYOUT.md.
#pragma once

#include "base/cpu.hpp"
#include "layout/shared_word.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace vmrpc::layout {

inline constexpr std::uint32_t kRequestRingLines = 64;
/// Calls in flight on a lane. A quarter of the ring: the requester can never overrun the replier, who therefore never
/// writes a request line.
inline constexpr std::uint32_t kReplySlots = 16;
inline constexpr std::uint32_t kInlineArgumentBytes = 24;
inline constexpr std::uint32_t kInlineResultBytes = 48;
inline constexpr std::uint32_t kErrorTextBytes = 256;
/// How deep calls and calls back may be nested: the depth of the last one.
inline constexpr std::uint32_t kMostCallDepth = 16;

/// Flags of a request.
inline constexpr std::uint16_t kRequestTimed = 1;    // remaining_ns counts
inline constexpr std::uint16_t kRequestBorrows = 2;  // run the function on the lane's RPC stack, below frame_offset

/// What a request says; the replier copies it to private memory before it looks at it.
struct RequestBody {
    std::uint32_t function;      // index that resolving gave; below kReservedFunctions: the library's own
    std::uint16_t flags;         // kRequestTimed, kRequestBorrows
    std::uint8_t slot;           // reply slot
    std::uint8_t depth;          // how many calls and calls back it is nested in
    std::uint32_t frame_bytes;   // arguments; up to kInlineArgumentBytes they lie in `inline_arguments`
    std::uint32_t result_bytes;  // room that the requester keeps for results behind the arguments in its frame
    std::uint64_t frame_offset;  // "the ESP value": where the frame lies on the lane's RPC stack, that of a call back
                                 // in the server's arena; any value if all is inline
    std::uint64_t remaining_ns;  // of the caller's time limit, with kRequestTimed; else any value
    std::array<std::uint8_t, kInlineArgumentBytes> inline_arguments;
};

/// One call: one cache line. The requester writes the body, then release-stores `sequence`, which pairs with the
/// replier's acquire load. Sequences of a lane start at 1 and grow by 1; request n lies in line (n - 1) % 64.
struct alignas(base::kLineBytes) Request {
    SharedWord<std::uint64_t> sequence;
    RequestBody body;
};
static_assert(sizeof(Request) == base::kLineBytes);

/// What a reply says.
struct ReplyBody {
    std::uint32_t status;        // vmrpc_status
    std::uint32_t result_bytes;  // or bytes of error text, if status is not VMRPC_OK
    std::array<std::uint8_t, kInlineResultBytes> inline_result;
};

/// The answer, one cache line; `sequence` is the request's, release-stored last, and pairs with the requester's
/// acquire load.
struct alignas(base::kLineBytes) Reply {
    SharedWord<std::uint64_t> sequence;
    ReplyBody body;
};
static_assert(sizeof(Reply) == base::kLineBytes);

using ErrorText = std::array<char, kErrorTextBytes>;

/// Written by the requester; the replier only reads.
struct RequestRing {
    std::array<Request, kRequestRingLines> lines;
};

struct alignas(4096) Lane {
    RequestRing requests;                             // client writes
    std::array<Reply, kReplySlots> replies;           // server writes
    std::array<Reply, kReplySlots> callback_replies;  // client writes
    std::array<std::uint8_t, 2048> reserved0;
    std::array<ErrorText, kReplySlots> error_texts;           // server writes
    RequestRing callback_requests;                            // server writes
    std::array<ErrorText, kReplySlots> callback_error_texts;  // client writes
};
static_assert(sizeof(Lane) == std::uint64_t{20} * 1024);

/// Functions that the library calls for itself: ordinary calls with reserved indices.
enum class ReservedFunction : std::uint32_t {
    kResolve = 0,
    kPing = 1,
    kCommit = 2,
    kTrim = 3,
    kCancel = 4,
    kClose = 5,
    kReport = 6,
};
inline constexpr std::uint32_t kReservedFunctions = 16;

}  // namespace vmrpc::layout
