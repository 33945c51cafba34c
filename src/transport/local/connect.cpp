// The client's side of the hand-shake: blocks the caller, step by step, until its deadline.
#include "base/cpu.hpp"
#include "transport/local/client_link.hpp"
#include "transport/local/local.hpp"
#include "transport/local/protocol.hpp"
#include "transport/local/socket.hpp"

#include <fmt/format.h>

#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace vmrpc::transport::local {
namespace {

constexpr useconds_t kRetryUs = 2'000;
/// A server's socket file is there before it listens: so long may that take it.
constexpr std::int64_t kBoundToListeningNs = 50'000'000;

/// One attempt to connect; each step leaves in `parts_` what the next one needs.
class Connecting {
  public:
    explicit Connecting(const ConnectRequest& request) : request_(request), path_(request.address) {}

    base::Status open_socket();
    base::Status say_hello();
    base::Status take_offer();
    base::Status map_segment();
    base::Status take_ready();
    ClientLinkParts& parts() { return parts_; }

  private:
    /// Waits for a message. Errors: VMRPC_TIMED_OUT, VMRPC_PEER_LOST.
    base::Result<Received> receive(std::span<std::byte> into, Descriptors descriptors, const char* awaited);
    base::Status check_offer(const Received& received) const;
    base::Status check_region() const;
    [[nodiscard]] tl::unexpected<base::Error> connect_error(int error_number) const;
    [[nodiscard]] tl::unexpected<base::Error> not_vmrpc(const std::string& what) const;
    [[nodiscard]] tl::unexpected<base::Error> failed(base::Error error) const;

    const ConnectRequest& request_;
    const std::string& path_;
    ClientLinkParts parts_;
    Offer offer_{};
};

tl::unexpected<base::Error> Connecting::failed(base::Error error) const {
    return base::fail(error.status, fmt::format("local:{}: {}", path_, error.text));
}

tl::unexpected<base::Error> Connecting::not_vmrpc(const std::string& what) const {
    return base::fail(VMRPC_NOT_VMRPC, fmt::format("local:{}: {}: this is not the socket of a vmrpc server; check the "
                                                   "path",
                                                   path_, what));
}

tl::unexpected<base::Error> Connecting::connect_error(int error_number) const {
    struct stat status {};
    switch (error_number) {
        case ENOENT:
            return base::fail(VMRPC_NO_SERVER,
                              fmt::format("local:{}: nothing is there: start the server, or check the path", path_));
        case ECONNREFUSED:
            if (::stat(path_.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode))
                return not_vmrpc("there is a file that is no socket");
            return base::fail(
                VMRPC_NO_SERVER,
                fmt::format("local:{}: there is a socket, but its server is gone: start the server", path_));
        case EPROTOTYPE:
            return not_vmrpc("there is a socket of another type (stream or datagram)");
        case EACCES:
        case EPERM:
            return base::fail(VMRPC_NOT_PERMITTED,
                              fmt::format("local:{}: this user may not write to the socket, or not pass a folder above "
                                          "it: change their permissions, or the user",
                                          path_));
        default:
            return base::fail_errno(fmt::format("local:{}: cannot connect", path_), error_number);
    }
}

base::Status Connecting::open_socket() {
    const auto address = socket_address(path_);
    if (!address) return tl::unexpected(address.error());
    auto socket = make_socket();
    if (!socket) return failed(std::move(socket).error());
    const auto listens_by = base::Deadline::in(kBoundToListeningNs);
    while (::connect(socket->get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
        const bool may_start = errno == ECONNREFUSED && !listens_by.passed() && !request_.deadline.passed();
        if (!may_start && errno != EAGAIN && errno != EINTR) return connect_error(errno);
        if (request_.deadline.passed())
            return base::fail(VMRPC_TIMED_OUT,
                              fmt::format("local:{}: the server's queue of clients is full, and it takes none: is it "
                                          "stopped or overloaded?",
                                          path_));
        ::usleep(kRetryUs);  // the kernel offers nothing to wait on
    }
    parts_.process = peer_process(socket->get());
    parts_.socket = std::move(*socket);
    return {};
}

base::Status Connecting::say_hello() {
    Hello hello;
    hello.heap_bytes = request_.wishes.heap_bytes;
    hello.lane_count = request_.wishes.lane_count;
    hello.flags = (request_.wishes.trust_peer ? kTrustsPeer : 0) |
                  (request_.wishes.equal_addresses ? kWishesEqualAddresses : 0) |
                  (request_.wishes.huge_pages == VMRPC_HUGE_PAGES_HUGETLB ? kWishesHugetlb : 0) |
                  (request_.wishes.huge_pages == VMRPC_HUGE_PAGES_TRANSPARENT ? kWishesTransparent : 0);
    hello.page_bytes = static_cast<std::uint32_t>(::sysconf(_SC_PAGESIZE));
    hello.only_cpu = base::only_cpu();
    // Without the list of free slots the server maps where it likes, and the addresses differ.
    if (const auto slots = own_free_slots()) hello.free_slots = slots->words();
    if (const auto sent = send_message(parts_.socket.get(), bytes_of(hello)); !sent) return failed(sent.error());
    return {};
}

base::Result<Received> Connecting::receive(std::span<std::byte> into, Descriptors descriptors, const char* awaited) {
    while (true) {
        Received received = receive_message(parts_.socket.get(), into, descriptors);
        if (received.arrival == Arrival::kMessage) return received;
        if (received.arrival == Arrival::kEnd)
            return base::fail(VMRPC_PEER_LOST,
                              fmt::format("local:{}: the server closed the connection before its {}: its log says why",
                                          path_, awaited));
        const auto waited = wait_readable(parts_.socket.get(), request_.deadline);
        if (!waited && waited.error().status == VMRPC_TIMED_OUT)
            return base::fail(VMRPC_TIMED_OUT,
                              fmt::format("local:{}: the server took the connection but sent no {} within the time "
                                          "limit: it hangs, or is no vmrpc server",
                                          path_, awaited));
        if (!waited) return failed(waited.error());
    }
}

base::Status Connecting::take_offer() {
    auto received = receive(writable_bytes_of(offer_), Descriptors::kWanted, "offer");
    if (!received) return tl::unexpected(std::move(received).error());
    VMRPC_TRY(check_offer(*received));
    parts_.memory = std::move(received->descriptors[kSegmentMemory]);
    parts_.bell = std::move(received->descriptors[kServerBell]);
    if (!parts_.memory.valid() || !parts_.bell.valid())
        return base::fail(
            VMRPC_OUT_OF_RESOURCES,
            fmt::format("local:{}: the server's descriptors did not arrive: this process may have as many "
                        "as it is allowed (ulimit -n)",
                        path_));
    if (const auto status = check_segment_memory(parts_.memory.get(), offer_.segment_bytes); !status)
        return failed(status.error());
    return {};
}

base::Status Connecting::check_offer(const Received& received) const {
    constexpr std::size_t common_bytes = offsetof(Offer, segment_bytes);  // of all versions
    if (received.bytes < common_bytes || offer_.head.magic != kProtocolMagic || offer_.head.kind != MessageKind::kOffer)
        return not_vmrpc("the server answered with something else than an offer");
    if (offer_.status != VMRPC_OK) {
        const std::string text(offer_.text.data(), ::strnlen(offer_.text.data(), offer_.text.size()));
        return base::fail(base::failure_from_peer(offer_.status),
                          fmt::format("local:{}: the server refused: {}", path_, text));
    }
    if (offer_.head.layout_major != layout::kLayoutMajor)
        return base::fail(
            VMRPC_LAYOUT_VERSION,
            fmt::format("local:{}: the server's layout is {}.{}, the client's is {}.{}: use the same major "
                        "version of vmrpc on both sides",
                        path_, offer_.head.layout_major, offer_.head.layout_minor, layout::kLayoutMajor,
                        layout::kLayoutMinor));
    if (received.bytes != sizeof offer_) return not_vmrpc("the server's offer has a wrong size");
    return {};
}

base::Status Connecting::map_segment() {
    const int memory = parts_.memory.get();
    const std::uint64_t bytes = offer_.segment_bytes;
    const std::uint64_t address = offer_.server_address;
    auto mapping = map_offered(memory, bytes, offer_.uuid, address, (offer_.flags & kWishesEqualAddresses) != 0);
    if (!mapping) return failed(std::move(mapping).error());
    parts_.mapping = std::move(*mapping);
    parts_.server_address = address;
    parts_.equal_addresses = request_.wishes.equal_addresses;
    Mapped mapped;
    mapped.client_address = parts_.mapping->address();
    if (const auto sent = send_message(parts_.socket.get(), bytes_of(mapped)); !sent) return failed(sent.error());
    return {};
}

base::Status Connecting::take_ready() {
    Ready ready;
    const auto received = receive(writable_bytes_of(ready), Descriptors::kRefused, "word that the region is ready");
    if (!received) return tl::unexpected(received.error());
    if (received->bytes != sizeof ready || ready.head.magic != kProtocolMagic || ready.head.kind != MessageKind::kReady)
        return not_vmrpc("the server did not end the hand-shake as it should");
    const std::byte* segment = parts_.mapping->base();
    if (const auto header = layout::read_segment(segment, offer_.segment_bytes); !header) return failed(header.error());
    const auto plan = layout::read_region(segment, offer_.segment_bytes, offer_.region_offset);
    if (!plan) return failed(plan.error());
    parts_.plan = *plan;
    VMRPC_TRY(check_region());
    if (const auto advised = advise_on_heap(parts_.mapping->base(), *plan); !advised) return failed(advised.error());
    return {};
}

base::Status Connecting::check_region() const {
    const std::uint64_t agreed = parts_.plan.agreed_address;
    if (agreed != 0 && agreed != parts_.mapping->address())
        return base::fail(
            VMRPC_POISONED,
            fmt::format("local:{}: the server says that the segment is at {:#x} on both sides; here it is "
                        "at {:#x}",
                        path_, agreed, parts_.mapping->address()));
    if ((parts_.plan.flags & layout::kRegionTrusted) != 0 && !request_.wishes.trust_peer)
        return base::fail(
            VMRPC_POISONED,
            fmt::format("local:{}: the server says that both sides trust each other; this one does not", path_));
    return {};
}

void claim(const ClientLinkParts& parts) {
    auto* entry = reinterpret_cast<layout::DirectoryEntry*>(parts.mapping->base() + layout::kDirectoryOffset);
    entry->claim.generation.store_relaxed(parts.plan.epoch);
    entry->claim.pid.store_relaxed(static_cast<std::uint32_t>(::getpid()));
    entry->claim.page_bytes.store_relaxed(static_cast<std::uint32_t>(::sysconf(_SC_PAGESIZE)));
    entry->claim.flags.store_relaxed(parts.plan.flags & layout::kRegionTrusted);
    entry->claim.address.store_relaxed(parts.mapping->address());
    // release: pairs with an acquire load of whoever looks at the segment; the server was told by Mapped.
    entry->claim.state.store_release(static_cast<std::uint32_t>(layout::ClaimState::kMapped));
}

}  // namespace

base::Result<std::unique_ptr<ClientLink>> Local::connect(const ConnectRequest& request, ClientEvents& events) {
    Connecting connecting(request);
    VMRPC_TRY(connecting.open_socket());
    VMRPC_TRY(connecting.say_hello());
    VMRPC_TRY(connecting.take_offer());
    VMRPC_TRY(connecting.map_segment());
    VMRPC_TRY(connecting.take_ready());
    claim(connecting.parts());
    auto link = std::make_unique<LocalClientLink>(std::move(connecting.parts()), events);
    VMRPC_TRY(link->watch_server());
    return link;
}

}  // namespace vmrpc::transport::local
