#include "transport/local/handshake.hpp"

#include "base/log.hpp"
#include "layout/stack_parts.hpp"

#include <fmt/format.h>

#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace vmrpc::transport::local {
namespace {

constexpr std::uint64_t kTrustedHeapBytes = 8 * kGiB;
constexpr std::uint64_t kUntrustedHeapBytes = 1 * kGiB;

bool both_trust(const Hello& hello, const Wishes& most) {
    return most.trust_peer && (hello.flags & kTrustsPeer) != 0;
}

vmrpc_huge_pages wished_pages(const Hello& hello) {
    if ((hello.flags & kWishesHugetlb) != 0) return VMRPC_HUGE_PAGES_HUGETLB;
    return (hello.flags & kWishesTransparent) != 0 ? VMRPC_HUGE_PAGES_TRANSPARENT : VMRPC_HUGE_PAGES_NONE;
}

bool cuts_alike(const Hello& hello) {
    return hello.first_slot == kFirstSlot && hello.slot_bytes == kSlotBytes && hello.slot_count == kSlotCount;
}

base::Status check_version(const MessageHead& head) {
    if (head.layout_major == layout::kLayoutMajor) return {};
    return base::fail(VMRPC_LAYOUT_VERSION,
                      fmt::format("the client's layout is {}.{}, the server's is {}.{}: use the same major version of "
                                  "vmrpc on both sides",
                                  head.layout_major, head.layout_minor, layout::kLayoutMajor, layout::kLayoutMinor));
}

base::Status check_page_bytes(std::uint32_t page_bytes) {
    if (page_bytes >= 4096 && page_bytes <= layout::kAreaBytes && (page_bytes & (page_bytes - 1)) == 0) return {};
    return base::fail(VMRPC_NOT_SUPPORTED, fmt::format("the client's pages have {} bytes; vmrpc's layout fits pages of "
                                                       "4096 to {}",
                                                       page_bytes, layout::kAreaBytes));
}

}  // namespace

base::Result<vmrpc_huge_pages> huge_pages_for(const Hello& hello, const Wishes& most) {
    const vmrpc_huge_pages wished = wished_pages(hello);
    if (wished == VMRPC_HUGE_PAGES_NONE || wished == most.huge_pages) return most.huge_pages;
    const bool costs_nothing = wished == VMRPC_HUGE_PAGES_TRANSPARENT && most.huge_pages == VMRPC_HUGE_PAGES_NONE;
    if (costs_nothing || most.allow_huge_pages) return wished;
    if (wished == VMRPC_HUGE_PAGES_TRANSPARENT)
        return base::fail(VMRPC_NOT_PERMITTED,
                          "the server's memory is of the system's pool of huge pages, and it lets no client choose "
                          "transparent ones: wish HUGETLB or nothing, or set allow_huge_pages on the server");
    return base::fail(VMRPC_NOT_PERMITTED,
                      "the server lets no client take huge pages from the system's pool: set allow_huge_pages or "
                      "huge_pages on the server, or do without");
}

layout::RegionSizes sizes_for(const Hello& hello, const Wishes& most, vmrpc_huge_pages pages) {
    const std::uint64_t usual = both_trust(hello, most) ? kTrustedHeapBytes : kUntrustedHeapBytes;
    const std::uint64_t wished = hello.heap_bytes != 0 ? hello.heap_bytes : usual;
    const std::uint64_t allowed = most.heap_bytes != 0 ? most.heap_bytes : usual;
    layout::RegionSizes sizes;
    sizes.lane_count = std::clamp(std::min(hello.lane_count, most.lane_count), 1U, layout::kMaxLanes);
    if (pages == VMRPC_HUGE_PAGES_HUGETLB) sizes.stack_bytes = layout::kFramesOnlyStackBytes;
    const std::uint64_t half = std::min(wished, allowed) / 2 / layout::kAreaBytes * layout::kAreaBytes;
    sizes.arena_bytes = std::max(half, layout::kMinArenaBytes);
    return sizes;
}

Handshake::Handshake(notify::GuardedFd socket, const ServerTerms& terms, std::shared_ptr<EventSink> sink,
                     std::uint32_t connection)
    : terms_(terms) {
    parts_.peer = peer_of(socket.get());
    client_ = fmt::format("pid {}, uid {}", parts_.peer.pid, parts_.peer.uid);
    parts_.process = peer_process(socket.get());
    parts_.socket = std::move(socket);
    parts_.sink = std::move(sink);
    parts_.plan.connection = connection;
}

base::Status Handshake::watch(std::function<void()> on_readable, std::int64_t limit_ns,
                              std::function<void()> on_time_limit) {
    auto readable =
        notify::watch(socket(), EPOLLIN | EPOLLRDHUP, [call = std::move(on_readable)](std::uint32_t) { call(); });
    if (!readable) return tl::unexpected(std::move(readable).error());
    readable_ = std::move(*readable);
    auto time_limit = notify::after(limit_ns, std::move(on_time_limit));
    if (!time_limit) return tl::unexpected(std::move(time_limit).error());
    time_limit_ = std::move(*time_limit);
    return {};
}

Handshake::Progress Handshake::advance() {
    Hello message{};  // the longest that a client sends
    const Received received = receive_message(socket(), writable_bytes_of(message));
    if (received.arrival == Arrival::kNothingYet) return Progress::kWaiting;
    if (received.arrival == Arrival::kEnd) {
        // Ordinary: a server that starts looks in this way whether another one is alive.
        base::log().debug("{}: {} left before the connection was made", terms_.name, client_);
        return Progress::kFailed;
    }
    if (received.bytes < sizeof message.head || message.head.magic != kProtocolMagic)
        return let_go("it does not speak vmrpc");
    if (!offered_) return on_hello(message, received);
    Mapped mapped{};
    static_assert(sizeof mapped <= sizeof message);
    layout::copy_from_peer(&mapped, &message, sizeof mapped);
    return on_mapped(mapped, received);
}

Handshake::Progress Handshake::on_hello(const Hello& hello, const Received& received) {
    // Before the size: another version's Hello may have another one.
    if (const auto status = check_version(hello.head); !status) return refuse(status.error());
    if (hello.head.kind != MessageKind::kHello || received.bytes != sizeof hello || !received.is_whole)
        return let_go(fmt::format("its first message, of kind {} and {} bytes, is no Hello",
                                  static_cast<std::uint32_t>(hello.head.kind), received.bytes));
    if (const auto status = check_page_bytes(hello.page_bytes); !status) return refuse(status.error());
    if (terms_.max_connections != 0 && parts_.sink->places.load(std::memory_order_relaxed) >= terms_.max_connections)
        return refuse({VMRPC_OUT_OF_RESOURCES, fmt::format("the server has {} connections, the most that it takes: "
                                                           "close one, or raise the server's limit",
                                                           terms_.max_connections)});
    parts_.place = std::make_unique<Place>(parts_.sink);
    const auto offer = prepare(hello);
    if (!offer) return refuse(offer.error());
    const std::array<int, kOfferDescriptors> descriptors{parts_.memory.get(), parts_.bell.get()};
    if (const auto sent = send_message(socket(), bytes_of(*offer), descriptors); !sent)
        return let_go(sent.error().text);
    offered_ = true;
    return Progress::kWaiting;
}

base::Result<Offer> Handshake::prepare(const Hello& hello) {
    const auto pages = huge_pages_for(hello, terms_.most);
    VMRPC_TRY(pages);
    const layout::RegionSizes sizes = sizes_for(hello, terms_.most, *pages);
    const std::uint64_t segment_bytes = layout::segment_bytes_for(sizes);
    equal_addresses_ = terms_.most.equal_addresses && (hello.flags & kWishesEqualAddresses) != 0;
    client_only_cpu_ = hello.only_cpu >= 0 && hello.only_cpu < CPU_SETSIZE ? hello.only_cpu : -1;
    const std::uint32_t connection = parts_.plan.connection;
    parts_.plan = layout::plan_region(layout::kAreaBytes, sizes);
    parts_.plan.connection = connection;
    parts_.plan.epoch = 1;
    parts_.plan.flags = region_flags(terms_.most, (hello.flags & kTrustsPeer) != 0, *pages);
    VMRPC_TRY(map_segment(hello, segment_bytes, *pages));
    layout::format_segment(parts_.mapping->base(), segment_bytes, 1, uuid_, "vmrpc");
    parts_.bell = notify::GuardedFd::made_by([] { return ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); });
    if (!parts_.bell.valid()) return base::fail_errno("the server cannot make an eventfd", errno);
    Offer offer;
    offer.flags = (terms_.most.trust_peer ? kTrustsPeer : 0) | (equal_addresses_ ? kWishesEqualAddresses : 0);
    offer.segment_bytes = segment_bytes;
    offer.region_offset = parts_.plan.region_offset;
    offer.server_address = parts_.mapping->address();
    offer.uuid = uuid_;
    offer.connection = connection;
    return offer;
}

base::Status Handshake::map_segment(const Hello& hello, std::uint64_t bytes, vmrpc_huge_pages pages) {
    uuid_ = layout::make_uuid();
    auto memory = make_segment_memory(bytes, pages);
    if (!memory) return tl::unexpected(std::move(memory).error());
    parts_.memory = std::move(*memory);
    base::Result<std::shared_ptr<Mapping>> mapping = nullptr;
    if (equal_addresses_ && cuts_alike(hello))
        mapping = Mapping::at_common_slot(SlotMap(hello.free_slots), parts_.memory.get(), bytes, uuid_);
    const bool is_short = !mapping && pages == VMRPC_HUGE_PAGES_HUGETLB;
    if (!is_short && (!mapping || *mapping == nullptr)) mapping = Mapping::anywhere(parts_.memory.get(), bytes, uuid_);
    if (!mapping) return tl::unexpected(std::move(mapping).error());
    parts_.mapping = std::move(*mapping);
    return advise_on_heap(parts_.mapping->base(), parts_.plan);
}

Handshake::Progress Handshake::on_mapped(const Mapped& mapped, const Received& received) {
    if (mapped.head.kind != MessageKind::kMapped || received.bytes != sizeof mapped || !received.is_whole)
        return let_go(fmt::format("its second message, of kind {} and {} bytes, is not Mapped",
                                  static_cast<std::uint32_t>(mapped.head.kind), received.bytes));
    format(mapped.client_address);
    const bool trusts = (parts_.plan.flags & layout::kRegionTrusted) != 0;
    const std::uint64_t usual = trusts ? kTrustedHeapBytes : kUntrustedHeapBytes;
    parts_.segment_terms = {.equal_addresses = equal_addresses_,
                            .most_client_bytes = terms_.most.further_bytes != 0 ? terms_.most.further_bytes : usual};
    readable_.reset();
    time_limit_.reset();
    auto link = std::make_unique<LocalServerLink>(std::move(parts_));
    if (const auto watched = link->watch_client(); !watched) return let_go(watched.error().text);
    if (const auto sent = send_message(link->socket(), bytes_of(Ready{})); !sent) return let_go(sent.error().text);
    link_ = std::move(link);
    return Progress::kDone;
}

void Handshake::format(std::uint64_t client_address) {
    std::byte* segment = parts_.mapping->base();
    layout::RegionPlan& plan = parts_.plan;
    const bool equal = equal_addresses_ && client_address == parts_.mapping->address();
    plan.agreed_address = equal ? client_address : 0;
    parts_.peer_segment_address = client_address;
    layout::format_region(segment, plan);
    auto* control = reinterpret_cast<layout::ControlPage*>(segment + plan.region_offset);
    // The client's line, but the client uses it only after Ready.
    control->client.only_cpu.store_relaxed(client_only_cpu_);
    // The directory says the same as the Offer, for whoever looks at a segment alone.
    auto& offer = reinterpret_cast<layout::DirectoryEntry*>(segment + layout::kDirectoryOffset)->offer;
    offer.generation.store_relaxed(plan.epoch);
    offer.region_offset.store_relaxed(plan.region_offset);
    offer.region_bytes.store_relaxed(plan.region_bytes);
    offer.agreed_address.store_relaxed(plan.agreed_address);
    // release: pairs with an acquire load of whoever looks; the client itself is told by Ready.
    offer.state.store_release(static_cast<std::uint32_t>(layout::OfferState::kOffered));
}

Handshake::Progress Handshake::refuse(const base::Error& error) {
    Offer offer;
    offer.status = static_cast<std::uint32_t>(error.status);
    error.text.copy(offer.text.data(), offer.text.size() - 1);
    static_cast<void>(send_message(socket(), bytes_of(offer)));
    return let_go(error.text);
}

Handshake::Progress Handshake::let_go(const std::string& why) {
    base::log().warn("{}: client ({}) refused: {}", terms_.name, client_, why);
    return Progress::kFailed;
}

}  // namespace vmrpc::transport::local
