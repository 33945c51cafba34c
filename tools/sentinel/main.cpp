// vmrpc-sentinel: waits for the death of the process that started it, its ward, and then tells the peer in the other
// domain. Started by the library; src/transport/vm/sentinel_protocol.hpp says how.
//
// It holds nothing but the descriptors that it was given, and ends with its ward: at once when ordered, else after it
// has told of the death. Ctrl-C and an orderly stop of a service are for the ward; what kills the sentinel first leaves
// the peer without the news.
#include "layout/region.hpp"
#include "layout/segment.hpp"
#include "transport/vm/protocol.hpp"
#include "transport/vm/sentinel_protocol.hpp"

#include <vmrpc/status.h>

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

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

/// The server has died: everything in the VM's segment that says otherwise is changed. Places come from the arguments
/// alone; what the guest has written is not believed.
int host(std::uint64_t segment_offset, std::uint64_t segment_bytes, std::uint64_t entries) {
    if (entries == 0 || entries > kMaxDirectoryEntries) return kWrongUse;
    if (!wait_for_death()) return 0;
    std::byte* segment = map(kMemoryFd, segment_offset, segment_bytes);
    if (segment == nullptr) return kFailed;
    for (std::uint32_t i = 0; i < entries; ++i) {
        auto& offer = directory_entry(segment, i).offer;
        if (offer.state.load_relaxed() != static_cast<std::uint32_t>(OfferState::kFree))
            close_region(segment + share_of_entry(segment_bytes, static_cast<std::uint32_t>(entries), i).offset);
        offer.status.store_relaxed(VMRPC_NO_SERVER);
        // release: pairs with the acquire load of who wants to claim
        offer.state.store_release(static_cast<std::uint32_t>(OfferState::kRefused));
    }
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

}  // namespace

int main(int argc, char** argv) {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) ::signal(signal, SIG_IGN);
    for (const int inherited : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::close(inherited);
    if (::chdir("/") != 0) return kFailed;  // holds no folder either
    std::array<std::uint64_t, 5> numbers{};
    if (argc < 2 || argc > 7) return kWrongUse;
    for (int i = 2; i < argc; ++i) {
        const auto value = number(argv[i]);
        if (!value) return kWrongUse;
        numbers[static_cast<std::size_t>(i - 2)] = *value;
    }
    const std::string_view mode = argv[1];
    if (mode == "host" && argc == 5) return host(numbers[0], numbers[1], numbers[2]);
    if (mode == "guest" && argc == 5) return guest(numbers[0], numbers[1], numbers[2], std::nullopt);
    if (mode == "guest" && argc == 7)
        return guest(numbers[0], numbers[1], numbers[2], Registers{numbers[3], numbers[4]});
    return kWrongUse;
}
