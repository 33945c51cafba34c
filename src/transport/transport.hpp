// What a VMM (or the plain kernel) has to offer to carry connections. Each transport is one folder here, the only place
// that includes its system's headers; everything above sees a Link: mapped memory, a way to ring the peer, and death.
#pragma once

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/result.hpp"
#include "heap/pages.hpp"
#include "layout/plan.hpp"
#include "notify/sleeper.hpp"
#include "transport/further_segment.hpp"
#include "transport/huge_pages.hpp"
#include "transport/preparation.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace vmrpc::transport {

/// Who is at the other end, as the system says, not as the peer says.
struct Peer {
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::uint32_t pid = 0;  // 0 where the system cannot tell
    std::uint32_t vm = 0;   // number of the VM on this server, from 1; 0: a process of this machine
};

/// What a side wishes a connection to be.
struct Wishes {
    std::uint64_t heap_bytes = 0;  // both halves together; 0: 8 GiB if trusted, else 1 GiB
    std::uint32_t lane_count = layout::kMaxLanes;
    bool trust_peer = false;
    bool borrow_stack = false;    // functions called from the RPC stack run on it, if both sides trust each other
    bool equal_addresses = true;  // false: do not even try (tests)
    vmrpc_huge_pages huge_pages = VMRPC_HUGE_PAGES_NONE;  // the heap's memory is of these, or there is no connection
    bool allow_huge_pages = false;                        // of a server: its clients may choose
    /// Of a server: of all further segments of a client's together; 0: 8 GiB if it is trusted, else 1 GiB.
    std::uint64_t further_bytes = 0;
};

/// The flags of a region's plan, as the server's wishes, the client's trust and the memory make them. No code runs on
/// RPC stacks of the pool's pages.
constexpr std::uint32_t region_flags(const Wishes& server, bool client_trusts, vmrpc_huge_pages pages) {
    const std::uint32_t made_of = region_flag_of(pages);
    if (!server.trust_peer || !client_trusts) return made_of;
    const bool borrows = server.borrow_stack && pages != VMRPC_HUGE_PAGES_HUGETLB;
    return made_of | layout::kRegionTrusted | (borrows ? layout::kRegionBorrows : 0);
}

/// One connection's memory and ringing, the part that both sides have. The region is formatted and mapped for as long
/// as the object lives. Threads: the getters may be called from any thread; ring() too, at the same time.
class Link {
  public:
    Link() = default;
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;
    /// Unmaps the region (unless something else in this process still uses the mapping) and closes every descriptor.
    virtual ~Link() = default;

    /// Base of the segment in this process.
    [[nodiscard]] virtual std::byte* segment() const = 0;
    /// This side's private copy of the region's plan; on the client's side checked.
    [[nodiscard]] virtual const layout::RegionPlan& plan() const = 0;
    /// The segment's base in the peer, 0 if the peer did not say. Equal to segment() where pointers may travel.
    [[nodiscard]] virtual std::uint64_t peer_segment_address() const = 0;

    /// The pages of the segment, if this side can commit them itself; else nullptr: the peer does it, when asked by a
    /// call. Lives as long as the link. Does not wait for the peer.
    [[nodiscard]] virtual heap::Pages* pages() noexcept = 0;

    /// Prepares a part of the segment in this process. Blocks while the system does it. Errors: VMRPC_OUT_OF_RESOURCES,
    /// VMRPC_NOT_SUPPORTED.
    virtual base::Status prepare(const layout::Extent& part, const Preparation& how) = 0;

    /// Wakes the peer if it sleeps: writes its Rung word and kicks it. Never blocks, never fails visibly (a peer that
    /// is gone is reported by its death). One system call.
    virtual void ring() noexcept = 0;

    /// Tells `events`, which must outlive the link, of the peer's further segments, those that are there already first.
    /// At most once.
    virtual void watch_segments(SegmentEvents& /*events*/) {}
    /// Adds a segment with an arena of this side's, mapped on both sides when it returns. Blocks until the peer has
    /// mapped it: at most a few seconds. Errors: VMRPC_NOT_SUPPORTED (of every transport that does not say otherwise),
    /// VMRPC_OUT_OF_RESOURCES, VMRPC_TIMED_OUT, VMRPC_PEER_LOST.
    virtual base::Result<std::shared_ptr<const AddedSegment>> add_segment(const SegmentWish& wish);
    /// This side does not use the segment of this heap any more: it is unmapped when the last reference goes. The peer
    /// is told, if the segment is this side's. Does not block.
    virtual void end_segment(heap::HeapId /*heap*/) {}
};

/// The server's end of one connection.
class ServerLink : public Link {
  public:
    [[nodiscard]] virtual const Peer& peer() const = 0;
    /// Where the segment's memory begins, in a memfd or another file. Its descriptor lives as long as the link.
    [[nodiscard]] virtual base::FilePlace memory() const = 0;
    /// Becomes readable, edge-triggered, each time the client rings; to be watched by epoll with EPOLLET and never
    /// read.
    [[nodiscard]] virtual int ring_descriptor() const = 0;
    /// Tells the client that the connection is over: it will see the control page's state, which the caller has set
    /// before, within 1 s. The memory stays mapped here. Any thread; does not block; again is harmless.
    virtual void hang_up() noexcept = 0;
};

/// The client's end of one connection, and what its leading waiter sleeps on.
class ClientLink : public Link, public notify::Sleeper {};

/// What a listener reports. Called on the housekeeping thread, one at a time; must not block.
class ListenerEvents {
  public:
    virtual ~ListenerEvents() = default;
    /// A client has connected; the region is ready and the client may be calling already.
    virtual void opened(std::unique_ptr<ServerLink> link) = 0;
    /// The client of `link` died or closed. Reported once for each link that was opened, unless the link was destroyed
    /// before.
    virtual void lost(ServerLink* link) = 0;
    /// The client has given one of its further segments up: link->end_segment() is to be called when no function of
    /// this connection runs.
    virtual void segment_ended(ServerLink* /*link*/, heap::HeapId /*heap*/) {}
};

/// A server's address, open for clients. Destroying it closes the address (and removes its socket file), drops
/// hand-shakes that are not finished, and guarantees that no event runs or will run; links that were opened live on,
/// but their loss is no longer reported.
class Listener {
  public:
    Listener() = default;
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;
    virtual ~Listener() = default;
};

/// Called on the housekeeping thread, at most once, when a client's server is gone. Must not block.
class ClientEvents {
  public:
    virtual ~ClientEvents() = default;
    virtual void lost() = 0;
};

struct ListenRequest {
    std::string address;  // behind the scheme and its colon
    Wishes most;          // what a client gets at most (heap_bytes, lane_count); trust_peer: this side's option
    std::uint32_t max_connections = 0;  // 0: as many as the system lets
};

struct ConnectRequest {
    std::string address;
    Wishes wishes;
    base::Deadline deadline;
};

/// A transport: a scheme and the two ways to use it.
///
/// listen: opens the address; `events` must outlive the listener. Blocks only for the file system. Errors:
///   VMRPC_BAD_ADDRESS, VMRPC_ADDRESS_IN_USE, VMRPC_NOT_PERMITTED, VMRPC_OUT_OF_RESOURCES, VMRPC_NOT_SUPPORTED.
/// connect: blocks until connected or the request's deadline; `events` must outlive the link. Destroying the link
///   guarantees that lost() does not run and will not run. For that, a listener or a link must not be destroyed under a
///   lock that its events take. Errors: those of listen, VMRPC_NO_SERVER, VMRPC_NOT_VMRPC,
///   VMRPC_LAYOUT_VERSION, VMRPC_TIMED_OUT, VMRPC_PEER_LOST, and what the server refused with.
template <class T>
concept Transport = requires(const ListenRequest& listen, const ConnectRequest& connect,
                             ListenerEvents& listener_events, ClientEvents& client_events) {
    { T::kScheme } -> std::convertible_to<std::string_view>;
    { T::listen(listen, listener_events) } -> std::same_as<base::Result<std::unique_ptr<Listener>>>;
    { T::connect(connect, client_events) } -> std::same_as<base::Result<std::unique_ptr<ClientLink>>>;
};

/// Listens at or connects to "scheme:rest"; the request's address is the whole string here. listen() raises the
/// process's limit of open descriptors to its hard limit.
/// Errors: VMRPC_BAD_ADDRESS for an unknown scheme (the text lists the known ones), else those of the transport.
base::Result<std::unique_ptr<Listener>> listen(ListenRequest request, ListenerEvents& events);
base::Result<std::unique_ptr<ClientLink>> connect(ConnectRequest request, ClientEvents& events);

}  // namespace vmrpc::transport
