// What the stress test's server and clients share: the functions, and how each side notes what became of a call.
#pragma once

#include <vmrpc/vmrpc.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <vector>

namespace stress {

constexpr std::uint32_t kClients = 24;
constexpr std::uint32_t kThreads = 8;

/// Which call it is: of which client and thread, and its number there. In one word, so that add() stays a plain
/// function.
struct Ticket {
    std::uint64_t word = 0;

    static Ticket of(std::uint32_t client, std::uint32_t thread, std::uint64_t number) {
        return {number << 16 | std::uint64_t{thread} << 8 | client};
    }
    [[nodiscard]] std::uint64_t client() const { return word & 0xff; }
    [[nodiscard]] std::uint64_t thread() const { return word >> 8 & 0xff; }
    [[nodiscard]] std::uint64_t number() const { return word >> 16; }
};

/// The functions, in the order in which the server adds them.
enum class Function : std::uint8_t {
    kAdd,
    kAddOnWorker,
    kDigest,
    kShiftOnWorker,
    kSquares,
    kSquaresOnWorker,
    kNote,
    kNoteOnWorker,
    kFail,
    kDawdle,
    kAsk,
    kAskOnWorker,
    kVisit,
};
constexpr std::size_t kFunctions = 13;

using Adding = std::int64_t(Ticket, std::int64_t, std::int64_t);
using Digesting = std::uint64_t(Ticket, std::span<const std::uint64_t>);
using Shifting = void(Ticket, std::span<std::uint64_t>, std::uint64_t);
using Squaring = vmrpc::Array<std::uint64_t>(Ticket, std::uint64_t);
using Noting = void(Ticket);
using Dawdling = std::uint64_t(Ticket, std::uint64_t);
using Asking = std::int64_t(Ticket, std::int64_t);
using Visiting = std::uint64_t(Ticket, std::uint64_t, vmrpc::Callback<std::uint64_t(std::uint64_t)>);

constexpr auto kAdd = vmrpc::named<"stress.add", Adding>;
constexpr auto kAddOnWorker = vmrpc::named<"stress.add_on_worker", Adding>;
constexpr auto kDigest = vmrpc::named<"stress.digest", Digesting>;
constexpr auto kShiftOnWorker = vmrpc::named<"stress.shift_on_worker", Shifting>;
constexpr auto kSquares = vmrpc::named<"stress.squares", Squaring>;
constexpr auto kSquaresOnWorker = vmrpc::named<"stress.squares_on_worker", Squaring>;
constexpr auto kNote = vmrpc::named<"stress.note", Noting>;
constexpr auto kNoteOnWorker = vmrpc::named<"stress.note_on_worker", Noting>;
constexpr auto kFail = vmrpc::named<"stress.fail", Noting>;
/// Takes so many microseconds, unless nobody waits for it any more: then it throws kGaveUpText.
constexpr auto kDawdle = vmrpc::named<"stress.dawdle", Dawdling>;

/// Call kAnswer, which the client serves, and return what it does.
constexpr auto kAsk = vmrpc::named<"stress.ask", Asking>;
constexpr auto kAskOnWorker = vmrpc::named<"stress.ask_on_worker", Asking>;
constexpr auto kAnswer = vmrpc::named<"stress.answer", Asking>;
/// Calls its argument with 0, 1, 2, … so many times, and returns the sum of what that does.
constexpr auto kVisit = vmrpc::named<"stress.visit", Visiting>;

constexpr auto kGaveUpText = "nobody waits for it";
constexpr auto kFailText = "as asked for";

inline std::uint64_t digest_of(std::span<const std::uint64_t> values) {
    std::uint64_t hash = 1469598103934665603U;
    for (const std::uint64_t value : values) hash = (hash ^ value) * 1099511628211U;
    return hash;
}

/// What a client knows of a call in the end.
enum class Fate : std::uint8_t {
    kUnknown,        // never noted: a bug of the test
    kRefused,        // VMRPC_BUSY: not posted
    kAnswered,       // with its result
    kFailed,         // its function threw
    kCancelledIdle,  // VMRPC_CANCELLED: it had not begun
    kCancelledBusy,  // VMRPC_CANCELLED: the function gave up
    kLateIdle,       // VMRPC_TIMED_OUT: the server had not begun it
    kGivenUp,        // VMRPC_TIMED_OUT: the client has waited long enough
    kDropped,        // its future was destroyed
    kOneWay,         // posted
};
constexpr std::size_t kFates = 10;
constexpr std::array<const char*, kFates> kFateNames{
    "unknown",           "refused",  "answered", "failed", "cancelled before it ran", "cancelled while it ran",
    "late in the queue", "given up", "dropped",  "one-way"};

/// A client's note of a call.
struct Posted {
    Function function = Function::kAdd;
    Fate fate = Fate::kUnknown;
};

inline std::string ledger_path(const std::string& folder, std::uint64_t client, std::uint64_t thread) {
    return folder + "/" + std::to_string(client) + "-" + std::to_string(thread);
}
template <class List>
void write_ledger(const std::string& path, const List& calls) {
    std::ofstream out(path, std::ios::binary);
    for (const Posted& call : calls) {
        out.put(static_cast<char>(call.function));
        out.put(static_cast<char>(call.fate));
    }
}
inline std::vector<Posted> read_ledger(const std::string& path) {
    std::vector<Posted> calls;
    std::ifstream in(path, std::ios::binary);
    for (int function = in.get(); function != std::ifstream::traits_type::eof(); function = in.get())
        calls.push_back({static_cast<Function>(function), static_cast<Fate>(in.get())});
    return calls;
}
/// Once this file is there, clients may leave.
inline std::string leave_path(const std::string& folder) {
    return folder + "/leave";
}

}  // namespace stress
