// vmrpc-sentinel: waits for the death of the process that started it, its ward, and then tells the peer in the other
// domain. Started by the library; src/transport/vm/sentinel_protocol.hpp says how.
//
// It holds nothing but the descriptors that it was given, and ends with its ward: at once when ordered, else after it
// has told of the death. Ctrl-C and an orderly stop of a service are for the ward; what kills the sentinel first leaves
// the peer without the news.
#include "layout/region.hpp"
#include "layout/segment.hpp"
#include "transport/vm/protocol.hpp"
#include "transport/vm/ram/ram_protocol.hpp"
#include "transport/vm/sentinel_protocol.hpp"

#include <vmrpc/status.h>

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace {

using namespace vmrpc::layout;         // NOLINT(google-build-using-namespace)
using namespace vmrpc::transport::vm;  // NOLINT(google-build-using-namespace)

constexpr int kWrongUse = 2;
constexpr int kFailed = 1;

std::optional<std::uint64_t> number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

/// False: ordered to end. Otherwise returns when the ward is dead, with all of its threads.
bool wait_for_death() {
    std::array<pollfd, 2> watched{pollfd{kWardFd, POLLIN, 0}, pollfd{kOrderFd, POLLIN, 0}};
    while (true) {
        if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) return false;
        char order = 0;
        if (watched[1].revents != 0 && ::read(kOrderFd, &order, 1) > 0) return false;
        if ((watched[0].revents & POLLIN) != 0) return true;
        // The end of the file alone says nothing: the ward is still dying, or somebody closed its descriptors.
        if (watched[1].revents != 0) watched[1].fd = -1;
    }
}

std::byte* map(int descriptor, std::uint64_t offset, std::uint64_t bytes) {
    void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, static_cast<off_t>(offset));
    return mapped == MAP_FAILED ? nullptr : static_cast<std::byte*>(mapped);
}

/// Says on a region's control page that its server is gone, and rings the client.
void close_region(std::byte* region) {
    auto& control = *reinterpret_cast<ControlPage*>(region);
    constexpr std::string_view text = "the server has died: connect again once it runs";
    std::memcpy(control.server_text.data(), text.data(), text.size() + 1);
    control.server.status.store_relaxed(VMRPC_PEER_LOST);
    // release: pairs with the client's acquire load, which then finds status and text
    control.server.state.store_release(static_cast<std::uint32_t>(RegionState::kClosed));
    auto& rung = control.rung[index_of(Side::kClient)].count;
    rung.store_release(rung.load_relaxed() + 1);  // pairs with the waiter's acquire load
}

/// Changes everything in a segment that says that its server lives. Places come from the arguments alone; what the
/// guest has written is not believed.
void tell_all(std::byte* segment, std::uint64_t segment_bytes, std::uint64_t entries) {
    for (std::uint32_t i = 0; i < entries; ++i) {
        auto& offer = directory_entry(segment, i).offer;
        if (offer.state.load_relaxed() != static_cast<std::uint32_t>(OfferState::kFree))
            close_region(segment + share_of_entry(segment_bytes, static_cast<std::uint32_t>(entries), i).offset);
        offer.status.store_relaxed(VMRPC_NO_SERVER);
        // release: pairs with the acquire load of who wants to claim
        offer.state.store_release(static_cast<std::uint32_t>(OfferState::kRefused));
    }
}

/// The server has died.
int host(std::uint64_t segment_offset, std::uint64_t segment_bytes, std::uint64_t entries) {
    if (entries == 0 || entries > kMaxDirectoryEntries) return kWrongUse;
    if (!wait_for_death()) return 0;
    std::byte* segment = map(kMemoryFd, segment_offset, segment_bytes);
    if (segment == nullptr) return kFailed;
    tell_all(segment, segment_bytes, entries);
    return 0;
}

/// The same for a segment in a guest's RAM, of which these pieces are the beginning. The last thing is to say that
/// nobody on this side uses the pages any more.
int host_ram(std::uint64_t segment_bytes, std::span<const std::uint64_t> pieces) {
    if (!wait_for_death()) return 0;
    void* reserved = ::mmap(nullptr, kSentinelRamBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (reserved == MAP_FAILED) return kFailed;
    auto* segment = static_cast<std::byte*>(reserved);
    std::uint64_t mapped = 0;
    for (std::size_t i = 0; i + 1 < pieces.size(); i += 2) {
        if (pieces[i + 1] > kSentinelRamBytes - mapped) return kWrongUse;
        if (::mmap(segment + mapped, pieces[i + 1], PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, kMemoryFd,
                   static_cast<off_t>(pieces[i])) == MAP_FAILED)
            return kFailed;
        mapped += pieces[i + 1];
    }
    if (mapped != kSentinelRamBytes) return kWrongUse;
    tell_all(segment, segment_bytes, 1);
    // release: pairs with the load of the guest's sentinel
    std::atomic_ref(reinterpret_cast<SegmentHeader*>(segment)->magic).store(kRamReleased, std::memory_order_release);
    return 0;
}

struct Registers {
    std::uint64_t offset;        // in their descriptor, where a page begins
    std::uint64_t first_offset;  // of the first register, from there
};

int ring(const Registers& registers) {
    if (registers.first_offset > kAreaBytes) return kWrongUse;
    std::byte* mapped = map(kRegistersFd, registers.offset, registers.first_offset + kRegistersBytes);
    if (mapped == nullptr) return kFailed;
    *reinterpret_cast<volatile std::uint32_t*>(mapped + registers.first_offset + kDoorbellOffset) =
        doorbell_value(kDirectoryVector);
    return 0;
}

/// The client has died: its claim ends, if it is still this client's, and the server is rung.
int guest(std::uint64_t segment_offset, std::uint64_t entry, std::uint64_t generation,
          const std::optional<Registers>& registers) {
    if (entry >= kMaxDirectoryEntries) return kWrongUse;
    if (!wait_for_death()) return 0;
    std::byte* segment = map(kMemoryFd, segment_offset, kAreaBytes);
    if (segment == nullptr) return kFailed;
    auto& claim = directory_entry(segment, static_cast<std::uint32_t>(entry)).claim;
    const auto state = static_cast<ClaimState>(claim.state.load_relaxed());
    if (claim.generation.load_relaxed() != generation ||
        (state != ClaimState::kClaimed && state != ClaimState::kMapped))
        return 0;
    // release: pairs with the server's acquire load
    claim.state.store_release(static_cast<std::uint32_t>(ClaimState::kGone));
    return registers ? ring(*registers) : 0;
}

void send_to_server(std::uint8_t byte) {
    // A port of virtio-serial is no socket.
    if (::send(kStreamFd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == ENOTSOCK)
        static_cast<void>(!::write(kStreamFd, &byte, 1));
}

/// Whether the stream has ended, after so many milliseconds at most.
bool stream_ends(int wait_ms) {
    pollfd watched{kStreamFd, POLLIN, 0};
    if (::poll(&watched, 1, wait_ms) <= 0 || watched.revents == 0) return false;
    std::array<char, 256> rings{};
    const ssize_t got = ::read(kStreamFd, rings.data(), rings.size());
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

/// Keeps the pages of a segment in a guest's RAM, and keeps them in place, until the server has let go of them: in the
/// segment's memory it says so. Before it has begun with them, it lets go by ending the stream.
int guest_ram() {
    static_cast<void>(wait_for_death());  // or until ordered: all the same
    std::byte* segment = map(kMemoryFd, 0, kAreaBytes);
    if (segment == nullptr) return kFailed;
    const std::atomic_ref magic(reinterpret_cast<SegmentHeader*>(segment)->magic);
    auto& claim = directory_entry(segment, 0).claim;
    const auto state = static_cast<ClaimState>(claim.state.load_relaxed());
    // release: pairs with the server's acquire load
    if (magic.load(std::memory_order_acquire) == kSegmentMagic &&
        (state == ClaimState::kClaimed || state == ClaimState::kMapped))
        claim.state.store_release(static_cast<std::uint32_t>(ClaimState::kGone));
    send_to_server(kLeave);
    ::shutdown(kStreamFd, SHUT_WR);
    constexpr int look_ms = 20;
    for (bool ended = false;;) {
        if (!ended) ended = stream_ends(look_ms);
        const std::uint64_t now = magic.load(std::memory_order_acquire);  // pairs with the release of who lets go
        if (now == kRamReleased || (ended && now != kSegmentMagic && now != 0)) return 0;
        if (ended) ::poll(nullptr, 0, look_ms);
    }
}

}  // namespace

int main(int argc, char** argv) {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) ::signal(signal, SIG_IGN);
    for (const int inherited : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::close(inherited);
    if (::chdir("/") != 0) return kFailed;  // holds no folder either
    std::vector<std::uint64_t> numbers;
    if (argc < 2) return kWrongUse;
    for (int i = 2; i < argc; ++i) {
        const auto value = number(argv[i]);
        if (!value) return kWrongUse;
        numbers.push_back(*value);
    }
    const std::string_view mode = argv[1];
    if (mode == "host" && argc == 5) return host(numbers[0], numbers[1], numbers[2]);
    if (mode == "guest" && argc == 5) return guest(numbers[0], numbers[1], numbers[2], std::nullopt);
    if (mode == "guest" && argc == 7)
        return guest(numbers[0], numbers[1], numbers[2], Registers{numbers[3], numbers[4]});
    if (mode == "host-ram" && argc > 3) return host_ram(numbers[0], std::span(numbers).subspan(1));
    if (mode == "guest-ram" && argc == 2) return guest_ram();
    return kWrongUse;
}
