#include "transport/vm/claim.hpp"

#include "base/log.hpp"
#include "transport/vm/byte_lock.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>

namespace vmrpc::transport::vm {
namespace {

using layout::ClaimState;
using layout::OfferState;

tl::unexpected<base::Error> refused(const Board& board, std::uint32_t status) {
    const auto fail = [&board](vmrpc_status with, const char* text) { return board.failed({with, text}); };
    switch (status) {
        case VMRPC_NO_SERVER:
            return fail(
                VMRPC_NO_SERVER,
                "the server has ended: start it again; a VM whose memory or doorbell it gives (ivshmem) after it");
        case VMRPC_OUT_OF_RESOURCES:
            return fail(VMRPC_OUT_OF_RESOURCES,
                        "the server takes no more connections, or is out of memory or descriptors: its log says which");
        case VMRPC_NOT_SUPPORTED:
            return fail(VMRPC_NOT_SUPPORTED, "the server cannot serve this guest: its log says why");
        default:
            return fail(VMRPC_POISONED, "the server refused this process's claim as broken: its log says why");
    }
}

}  // namespace

base::Result<std::unique_ptr<Claim>> Claim::make(const Board& board, const Wishes& wishes, base::Deadline deadline) {
    const auto sentinel = find_sentinel();
    if (!sentinel) return tl::unexpected(sentinel.error());
    std::unique_ptr<Claim> claim(new Claim(board));
    Patience patience(deadline);
    do {
        const auto locked = ClaimingLock::take(board.lock_file(), deadline);
        if (!locked) return tl::unexpected(locked.error());
        if (!*locked) break;
        const ClaimingLock lock(board.lock_file());
        const auto found = claim->take_one(*sentinel, wishes);
        if (!found) return tl::unexpected(found.error());
        if (*found == Look::kTaken) return claim;
        if (*found == Look::kClosed) return refused(board, VMRPC_NO_SERVER);
        if (*found == Look::kFull)
            return base::fail(VMRPC_OUT_OF_RESOURCES,
                              fmt::format("{}: {} processes of this VM are connected, as many as its device "
                                          "has room for: close a connection",
                                          board.name, board.entries));
    } while (patience.wait());
    return base::fail(VMRPC_TIMED_OUT, fmt::format("{}: within the time limit no place became free in the "
                                                   "device's directory: is the server stopped?",
                                                   board.name));
}

base::Result<Claim::Look> Claim::take_one(const std::string& sentinel, const Wishes& wishes) {
    const Look found = look();
    if (found != Look::kTaken) return found;
    VMRPC_TRY(start_sentinel(sentinel));
    publish(wishes);
    return found;
}

/// Requires the file's lock. kTaken: the entry's byte is locked; nothing is published. Looks at all entries even so:
/// the claims of a boot that ended without a word are everywhere, and the first to come is the only one to find them.
Claim::Look Claim::look() {
    std::uint32_t closed = 0;
    bool changing = false;
    bool taken = false;
    for (std::uint32_t i = 0; i < board_.entries; ++i) {
        const auto& [offer, claim] = board_.entry(i);
        const auto state = static_cast<OfferState>(offer.state.load_acquire());  // pairs with the server's release
        const bool free = state == OfferState::kFree && is_free(i);
        if (state == OfferState::kRefused && offer.status.load_relaxed() == VMRPC_NO_SERVER) {
            ++closed;
        } else if (free && !taken && try_lock_byte(i)) {
            index_ = i;
            generation_ = offer.generation.load_relaxed();
            taken = true;
        } else if (!free || !taken) {
            const bool given_up = static_cast<ClaimState>(claim.state.load_relaxed()) == ClaimState::kGone;
            changing |= given_up || end_of_the_dead(i);
        }
    }
    if (taken) return Look::kTaken;
    if (closed == board_.entries) return Look::kClosed;
    return changing ? Look::kWaiting : Look::kFull;
}

bool Claim::is_free(std::uint32_t index) const {
    const auto& [offer, claim] = board_.entry(index);
    const auto state = static_cast<ClaimState>(claim.state.load_relaxed());
    // A claim of this generation that was given up is still to be seen by the server.
    return state == ClaimState::kNone ||
           (state == ClaimState::kGone && claim.generation.load_relaxed() != offer.generation.load_relaxed());
}

/// Ends a claim whose owner is no more. Returns whether it was one.
bool Claim::end_of_the_dead(std::uint32_t index) const {
    if (!try_lock_byte(index)) return false;
    auto& claim = board_.entry(index).claim;
    claim.state.store_release(static_cast<std::uint32_t>(ClaimState::kGone));  // pairs with the server's acquire
    unlock_byte(index);
    board_.ring_directory();
    return true;
}

bool Claim::try_lock_byte(std::uint32_t index) const {
    return lock_byte(board_.lock_file(), index, F_WRLCK);
}

void Claim::unlock_byte(std::uint32_t index) const {
    lock_byte(board_.lock_file(), index, F_UNLCK);
}

base::Status Claim::start_sentinel(const std::string& program) {
    if (board_.is_kept) return {};
    std::vector<std::string> arguments{"guest", std::to_string(board_.memory_offset), std::to_string(index_),
                                       std::to_string(generation_)};
    std::vector<int> descriptors{board_.memory.get()};
    const base::FilePlace registers = board_.doorbell != nullptr ? board_.doorbell->registers() : base::FilePlace(-1);
    if (registers.descriptor >= 0) {
        arguments.push_back(std::to_string(registers.offset));
        arguments.push_back(std::to_string(board_.doorbell->register_offset()));
        descriptors.push_back(registers.descriptor);
    }
    auto sentinel = Sentinel::start(program, std::move(arguments), descriptors);
    if (!sentinel) {
        unlock_byte(index_);
        return tl::unexpected(std::move(sentinel).error());
    }
    sentinel_ = std::move(*sentinel);
    return {};
}

/// The vector that is to ring this process.
std::uint32_t Claim::choose_interrupt() {
    if (board_.doorbell == nullptr || !board_.wants_interrupts) return layout::kLooks;
    auto interrupt = board_.doorbell->interrupt(index_);
    if (!interrupt)
        base::log().warn("{}: is not interrupted, and looks for its replies: {}", board_.name, interrupt.error().text);
    if (!interrupt) return layout::kLooks;
    interrupt_ = std::move(*interrupt);
    return interrupt_.ring_vector;
}

void Claim::publish(const Wishes& wishes) {
    auto& claim = board_.entry(index_).claim;
    // So that no reader takes what the last claim ended with for this one's: the state goes first, then the generation.
    claim.state.store_relaxed(static_cast<std::uint32_t>(ClaimState::kNone));
    claim.generation.store_release(
        generation_);  // pairs with the server's acquire load, which comes before the state's
    claim.pid.store_relaxed(static_cast<std::uint32_t>(::getpid()));
    claim.page_bytes.store_relaxed(static_cast<std::uint32_t>(::sysconf(_SC_PAGESIZE)));
    claim.ring_vector.store_relaxed(choose_interrupt());
    claim.flags.store_relaxed((wishes.trust_peer ? kClaimTrustsServer : 0) |
                              (board_.doorbell == nullptr ? kClaimCannotRing : 0));
    claim.service.store_relaxed(0);
    claim.address.store_relaxed(board_.window->address());
    claim.heap_bytes.store_relaxed(wishes.heap_bytes);
    // Who cannot commit memory itself has a lane for asking the server.
    const std::uint32_t more = board_.is_file ? 0 : 1;
    claim.lane_count.store_relaxed(std::min(wishes.lane_count, layout::kMaxLanes - more) + more);
    // release: pairs with the server's acquire load, which then finds the rest of the line
    claim.state.store_release(static_cast<std::uint32_t>(ClaimState::kClaimed));
    published_ = true;
    board_.ring_directory();
}

Claim::~Claim() {
    if (!published_ || !board_.memory.valid()) return;  // invalid: a forked child
    // release: pairs with the server's acquire load; what this process did to the region comes before it
    board_.entry(index_).claim.state.store_release(static_cast<std::uint32_t>(ClaimState::kGone));
    board_.ring_directory();
    unlock_byte(index_);
}

base::Result<layout::Extent> Claim::await_offer(base::Deadline deadline) const {
    const auto& offer = board_.entry(index_).offer;
    Patience patience(deadline);
    do {
        const auto state = static_cast<OfferState>(offer.state.load_acquire());  // pairs with the server's release
        if (state == OfferState::kRefused) return refused(board_, offer.status.load_relaxed());
        if (state == OfferState::kDraining)
            return base::fail(
                VMRPC_PEER_LOST,
                fmt::format("{}: the server closed the connection at once: its log says why", board_.name));
        if (state != OfferState::kOffered) continue;
        const layout::Extent region{offer.region_offset.load_relaxed(), offer.region_bytes.load_relaxed()};
        const layout::Extent regions{layout::kAreaBytes, board_.segment_bytes - layout::kAreaBytes};
        if (region.offset % layout::kAreaBytes == 0 && region.bytes % layout::kAreaBytes == 0 && region.bytes != 0 &&
            layout::holds(regions, region.offset, region.bytes))
            return region;
        return base::fail(VMRPC_POISONED, fmt::format("{}: the server offers {} bytes at {}: cannot be", board_.name,
                                                      region.bytes, region.offset));
    } while (patience.wait());
    return base::fail(VMRPC_TIMED_OUT,
                      fmt::format("{}: the server did not answer within the time limit: it is stopped, or its VM's "
                                  "device has fewer than 2 vectors",
                                  board_.name));
}

bool Claim::server_has_doorbell() const {
    return board_.entry(index_).offer.ring_vector.load_relaxed() == kRequestVector;
}

void Claim::mapped() const {
    // release: for whoever looks; the server treats it as kClaimed
    board_.entry(index_).claim.state.store_release(static_cast<std::uint32_t>(ClaimState::kMapped));
}

}  // namespace vmrpc::transport::vm
