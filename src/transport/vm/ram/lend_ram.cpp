#include "transport/vm/ram/lend_ram.hpp"

#include "layout/plan.hpp"
#include "transport/vm/memory_file.hpp"
#include "transport/vm/ram/guest_pages.hpp"
#include "transport/vm/stream_doorbell.hpp"

#include <fmt/format.h>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

namespace vmrpc::transport::vm {
namespace {

constexpr std::uint64_t kRoundTo = std::uint64_t{2} << 20;  // a huge page

/// False: it was not ready until the deadline.
bool await(int stream, short events, base::Deadline deadline) {
    pollfd watched{stream, events, 0};
    int ready = 0;
    do ready = ::poll(&watched, 1, deadline.remaining_ms());
    while (ready < 0 && errno == EINTR);
    return ready > 0;
}

tl::unexpected<base::Error> late() {
    return base::fail(VMRPC_TIMED_OUT, "the service does not answer on its stream within the time limit");
}

tl::unexpected<base::Error> ended() {
    return base::fail(
        VMRPC_PEER_LOST,
        "the service has ended the stream without a word: its log says why, or it is one that does not know "
        "memory=ram");
}

base::Status send_all(int stream, std::span<const std::byte> bytes, base::Deadline deadline) {
    while (!bytes.empty()) {
        const ssize_t sent = ::send(stream, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) bytes = bytes.subspan(static_cast<std::size_t>(sent));
        if (sent >= 0 || errno == EINTR) continue;
        // A refusal may be on its way: what was sent in vain says nothing.
        if (errno != EAGAIN) return {};
        if (!await(stream, POLLOUT, deadline)) return late();
    }
    return {};
}

base::Result<RamAnswer> receive_answer(int stream, base::Deadline deadline) {
    RamAnswer answer{};
    std::span<std::byte> rest = std::as_writable_bytes(std::span(&answer, 1));
    while (!rest.empty()) {
        const ssize_t got = ::recv(stream, rest.data(), rest.size(), MSG_DONTWAIT);
        if (got > 0) rest = rest.subspan(static_cast<std::size_t>(got));
        if (got > 0 || (got < 0 && errno == EINTR)) continue;
        if (got == 0 || errno != EAGAIN) return ended();
        if (!await(stream, POLLIN, deadline)) return late();
    }
    return answer;
}

base::Status check_answer(const RamAnswer& answer) {
    if (answer.magic != kRamMagic) return base::fail(VMRPC_POISONED, "the service answers what cannot be");
    if (answer.status == VMRPC_OK) return {};
    const std::string text(answer.text.data(), ::strnlen(answer.text.data(), answer.text.size()));
    // Only what a refusal may be: the status says what helps.
    for (const vmrpc_status status : {VMRPC_OUT_OF_RESOURCES, VMRPC_NO_SERVER, VMRPC_NOT_VMRPC, VMRPC_NOT_SUPPORTED,
                                      VMRPC_NOT_PERMITTED, VMRPC_BAD_ARGUMENT})
        if (answer.status == static_cast<std::uint32_t>(status))
            return base::fail(status, fmt::format("the service refuses this process's memory: {}", text));
    return base::fail(VMRPC_POISONED, fmt::format("the service refuses this process's memory: {}", text));
}

base::Status introduce(const GuestPages& pages, int stream, base::Deadline deadline) {
    const RamHello hello{.magic = kRamMagic,
                         .version = kRamVersion,
                         .segment_bytes = pages.bytes,
                         .nonce = pages.nonce,
                         .run_count = static_cast<std::uint32_t>(pages.runs.size()),
                         .reserved = 0};
    VMRPC_TRY(send_all(stream, std::as_bytes(std::span(&hello, 1)), deadline));
    VMRPC_TRY(send_all(stream, std::as_bytes(std::span(pages.runs)), deadline));
    const auto answer = receive_answer(stream, deadline);
    if (!answer) return tl::unexpected(answer.error());
    return check_answer(*answer);
}

}  // namespace

std::uint64_t ram_bytes_for(const Wishes& wishes) {
    if (wishes.heap_bytes == 0) return kDefaultRamBytes;
    const std::uint64_t heap_bytes = std::min(wishes.heap_bytes, kMostRamBytes);
    const std::uint64_t half = (heap_bytes / 2 / layout::kAreaBytes + 1) * layout::kAreaBytes;
    // The server gives a quarter of a small share to lanes, and no more (Directory::plan_for): so many, and one to be
    // sure, leave the heap what is wished for it.
    const std::uint64_t lanes = std::min<std::uint64_t>(heap_bytes / 3 / kRamStackBytes + 2, layout::kMaxLanes);
    const layout::RegionPlan plan =
        layout::plan_region(layout::kAreaBytes, {.lane_count = static_cast<std::uint32_t>(lanes),
                                                 .stack_bytes = kRamStackBytes,
                                                 .arena_bytes = std::max(half, layout::kMinArenaBytes)});
    const std::uint64_t bytes = std::max(plan.region_offset + plan.region_bytes, kMinSegmentBytes);
    return (bytes + kRoundTo - 1) / kRoundTo * kRoundTo;
}

base::Result<LentRam> lend_ram(const Wishes& wishes, base::Deadline deadline) {
    const auto sentinel = find_sentinel();
    if (!sentinel) return tl::unexpected(sentinel.error());
    auto pages = GuestPages::make(ram_bytes_for(wishes));
    if (!pages) return tl::unexpected(std::move(pages).error());
    LentRam lent;
    auto stream = open_stream(deadline);
    if (!stream)
        return base::fail(stream.error().status,
                          fmt::format("memory=ram needs a stream to the service: {}", stream.error().text));
    lent.stream = std::move(*stream);
    // Before the host can know of the pages.
    auto keeper = Sentinel::start(*sentinel, {"guest-ram"}, {pages->file.get(), pages->pin.get(), lent.stream.get()});
    if (!keeper) return tl::unexpected(std::move(keeper).error());
    lent.keeper = std::move(*keeper);
    VMRPC_TRY(introduce(*pages, lent.stream.get(), deadline));
    lent.memory = std::move(pages->file);
    lent.bytes = pages->bytes;
    return lent;
}

}  // namespace vmrpc::transport::vm
