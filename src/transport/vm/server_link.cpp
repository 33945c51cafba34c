#include "transport/vm/server_link.hpp"

namespace vmrpc::transport::vm {

namespace {

std::unique_ptr<heap::Pages> pages_in(const Vm& vm, std::uint32_t flags) {
    if (vm.has_others_pages()) return std::make_unique<PresentPages>();
    return pages_of(vm.memory(), vm.base(), flags);
}

}  // namespace

VmServerLink::VmServerLink(ServerLinkParts parts)
    : parts_(std::move(parts)), pages_(pages_in(*parts_.vm, parts_.plan.flags)) {}

layout::ControlPage& VmServerLink::control() const {
    return *reinterpret_cast<layout::ControlPage*>(segment() + parts_.plan.region_offset);
}

void VmServerLink::ring() noexcept {
    rung_.store(control().rung[layout::index_of(layout::Side::kClient)]);
    parts_.vm->ring_process(parts_.entry, parts_.interrupt);
}

VmServerLink::~VmServerLink() {
    if (!parts_.bell.valid()) return;  // a forked child, where nothing is mapped
    auto& server = control().server;
    if (server.state.load_relaxed() == static_cast<std::uint32_t>(layout::RegionState::kOpen)) {
        server.status.store_relaxed(VMRPC_PEER_LOST);
        // release: pairs with the client's acquire load, which then finds the status
        server.state.store_release(static_cast<std::uint32_t>(layout::RegionState::kClosed));
    }
    ring();
    parts_.place.reset();
    parts_.tenancy->over.store(true, std::memory_order_release);  // last use of the region
    parts_.vm->ring_directory();
}

}  // namespace vmrpc::transport::vm
