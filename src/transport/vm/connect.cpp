// The guest's side of a connection's making: blocks the caller, step by step, until its deadline.
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

    base::Status open_device();
    base::Status open_segment();
    base::Status claim_entry();
    base::Status map_region();
    ClientLinkParts& parts() { return parts_; }

  private:
    [[nodiscard]] base::Status check_plan() const;
    [[nodiscard]] tl::unexpected<base::Error> failed(const base::Error& error) const {
        return base::fail(error.status, fmt::format("ivshmem:{}: {}", board().device.address, error.text));
    }
    [[nodiscard]] Board& board() const { return *parts_.board; }

    const ConnectRequest& request_;
    ClientLinkParts parts_;
};

base::Status Connecting::open_device() {
    auto device = vm::open_device(request_.address);
    if (!device) return tl::unexpected(std::move(device).error());
    parts_.board = std::make_unique<Board>(Board{std::move(*device), nullptr, nullptr, 0, 0});
    auto registers = DeviceView::map(board().device.registers.get(), board().device.registers_offset + kRegistersBytes);
    if (!registers) return failed(registers.error());
    board().registers = std::move(*registers);
    return {};
}

base::Status Connecting::open_segment() {
    const int memory = board().device.memory.get();
    const std::uint64_t bytes = board().device.memory_bytes;
    if (bytes < layout::kAreaBytes)
        return failed({VMRPC_NOT_VMRPC, fmt::format("the device has {} bytes of memory, a segment's header takes {}: "
                                                    "it belongs to another program",
                                                    bytes, layout::kAreaBytes)});
    const auto view = DeviceView::map(memory, layout::kAreaBytes);
    if (!view) return failed(view.error());
    const auto header = layout::read_segment((*view)->base(), bytes);
    if (!header) return failed(header.error());
    board().segment_bytes = header->segment_bytes;
    board().entries = header->directory_entries;
    parts_.server_address = directory_entry((*view)->base(), 0).offer.agreed_address.load_relaxed();
    auto window = Window::open(memory, header->segment_bytes, header->uuid, parts_.server_address,
                               request_.wishes.equal_addresses);
    if (!window) return failed(window.error());
    board().window = std::move(*window);
    return {};
}

base::Status Connecting::claim_entry() {
    auto claim = Claim::make(board(), request_.wishes, request_.deadline);
    if (!claim) return tl::unexpected(std::move(claim).error());
    parts_.claim = std::move(*claim);
    const auto region = parts_.claim->await_offer(request_.deadline);
    if (!region) return tl::unexpected(region.error());
    parts_.region = *region;
    return {};
}

base::Status Connecting::map_region() {
    if (const auto mapped = board().window->map(board().device.memory.get(), parts_.region); !mapped)
        return failed(mapped.error());
    const auto plan = layout::read_region(board().window->base(), parts_.region.end(), parts_.region.offset);
    if (plan) parts_.plan = *plan;
    if (const auto checked = plan ? check_plan() : tl::unexpected(plan.error()); !checked) {
        board().window->unmap(parts_.region);
        return failed(checked.error());
    }
    parts_.claim->mapped();
    return {};
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

}  // namespace

base::Result<std::unique_ptr<ClientLink>> Ivshmem::connect(const ConnectRequest& request, ClientEvents& events) {
    Connecting connecting(request);
    VMRPC_TRY(connecting.open_device());
    VMRPC_TRY(connecting.open_segment());
    VMRPC_TRY(connecting.claim_entry());
    VMRPC_TRY(connecting.map_region());
    auto link = std::make_unique<VmClientLink>(std::move(connecting.parts()), events);
    VMRPC_TRY(link->watch_server());
    return link;
}

}  // namespace vmrpc::transport::vm
