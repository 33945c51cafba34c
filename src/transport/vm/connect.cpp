// The guest's side of a connection's making: blocks the caller, step by step, until its deadline.
#include "transport/memfd_pages.hpp"
#include "transport/vm/client_link.hpp"
#include "transport/vm/transports.hpp"

#include <fmt/format.h>

#include <utility>

namespace vmrpc::transport::vm {
namespace {

/// One attempt to connect; each step leaves in `parts_` what the next one needs.
class Connecting {
  public:
    explicit Connecting(const ConnectRequest& request) : request_(request) {}

    base::Status open_board(const Address& address);
    base::Status claim_entry();
    base::Status map_region();
    ClientLinkParts& parts() { return parts_; }

  private:
    [[nodiscard]] base::Status check_plan() const;
    void clear_heap() const;
    [[nodiscard]] tl::unexpected<base::Error> failed(const base::Error& error) const { return board().failed(error); }
    [[nodiscard]] Board& board() const { return *parts_.board; }

    const ConnectRequest& request_;
    ClientLinkParts parts_;
};

base::Status Connecting::open_board(const Address& address) {
    auto board = Board::open(address, request_.wishes, request_.deadline);
    if (!board) return tl::unexpected(std::move(board).error());
    parts_.board = std::move(*board);
    return {};
}

base::Status Connecting::claim_entry() {
    auto claim = Claim::make(board(), request_.wishes, request_.deadline);
    if (!claim) return tl::unexpected(std::move(claim).error());
    parts_.claim = std::move(*claim);
    const auto region = parts_.claim->await_offer(request_.deadline);
    if (!region) return tl::unexpected(region.error());
    parts_.region = *region;
    parts_.rings_doorbell = board().doorbell != nullptr && parts_.claim->server_has_doorbell();
    if (parts_.rings_doorbell) parts_.interrupt = parts_.claim->take_interrupt();
    return {};
}

base::Status Connecting::map_region() {
    if (const auto mapped = board().window->map(board().place(), parts_.region); !mapped) return failed(mapped.error());
    const auto plan = layout::read_region(board().window->base(), parts_.region.end(), parts_.region.offset);
    if (plan) parts_.plan = *plan;
    if (const auto checked = plan ? check_plan() : tl::unexpected(plan.error()); !checked) {
        board().window->unmap(parts_.region);
        return failed(checked.error());
    }
    clear_heap();
    parts_.claim->mapped();
    return {};
}

/// A server in a guest cannot give back what a client before this one has used; who has the file can.
void Connecting::clear_heap() const {
    const layout::Extent used{parts_.plan.stacks_offset, parts_.region.end() - parts_.plan.stacks_offset};
    // Should it fail, the memory only stays as it was: nothing relies on its being zero.
    if (board().is_file) MemfdPages(board().place()).give_back(used, heap::Pages::Wait::kYes);
}

base::Status Connecting::check_plan() const {
    const std::uint64_t agreed = parts_.plan.agreed_address;
    if (agreed != 0 && agreed != board().window->address())
        return base::fail(VMRPC_POISONED, fmt::format("the server says that the segment is at {:#x} on both sides; "
                                                      "here it is at {:#x}",
                                                      agreed, board().window->address()));
    if ((parts_.plan.flags & layout::kRegionTrusted) != 0 && !request_.wishes.trust_peer)
        return base::fail(VMRPC_POISONED, "the server says that both sides trust each other; this one does not");
    return {};
}

base::Result<std::unique_ptr<ClientLink>> connect_to(const Address& address, const ConnectRequest& request,
                                                     ClientEvents& events) {
    Connecting connecting(request);
    VMRPC_TRY(connecting.open_board(address));
    VMRPC_TRY(connecting.claim_entry());
    VMRPC_TRY(connecting.map_region());
    auto link = std::make_unique<VmClientLink>(std::move(connecting.parts()), events);
    VMRPC_TRY(link->watch_server());
    return link;
}

}  // namespace

base::Result<std::unique_ptr<ClientLink>> Ivshmem::connect(const ConnectRequest& request, ClientEvents& events) {
    return connect_to({.place = request.address, .memory = Memory::kBar, .ring = Ring::kBest}, request, events);
}

base::Result<std::unique_ptr<ClientLink>> VmTransport::connect(const ConnectRequest& request, ClientEvents& events) {
    const auto address = parse_address(request.address);
    if (!address) return tl::unexpected(address.error());
    return connect_to(*address, request, events);
}

}  // namespace vmrpc::transport::vm
