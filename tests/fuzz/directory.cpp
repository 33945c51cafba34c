// The directory of a VM's segment, where processes of the guest claim connections, against the server that reads it.
#include "transport/vm/directory.hpp"

#include "fuzz/input.hpp"
#include "transport/vm/protocol.hpp"

#include <array>
#include <memory>
#include <tuple>
#include <vector>

namespace vmrpc::fuzz {
namespace {

using namespace transport::vm;
using transport::ServerLink;

constexpr std::uint32_t kEntries = 3;

/// A server that keeps the connections that it gets, and lets go of those that are lost.
class Server final : public transport::ListenerEvents {
  public:
    Server() {
        service->name = "vm:fuzz";
        service->entries = kEntries;
        service->max_connections = 2;
        service->most = {.heap_bytes = std::uint64_t{4} << 20, .lane_count = 4};
        service->sink = std::make_shared<transport::EventSink>();
        service->sink->events = this;
    }
    void opened(std::unique_ptr<ServerLink> link) override { links.push_back(std::move(link)); }
    void lost(ServerLink* link) override {
        std::erase_if(links, [link](const auto& each) { return each.get() == link; });
    }

    std::shared_ptr<Service> service = std::make_shared<Service>();
    std::vector<std::unique_ptr<ServerLink>> links;
};

/// As a process of the guest does it; generation and state mostly as they should be.
void claim(const Vm& vm, Input& input) {
    auto& [offer, claim] = directory_entry(vm.base(), input.below(kEntries));
    claim.generation.store_relaxed(offer.generation.load_relaxed());
    claim.page_bytes.store_relaxed(4096);
    claim.address.store_relaxed(0x2000'0000'0000);
    claim.flags.store_relaxed(input.below(8));
    claim.heap_bytes.store_relaxed(input.below(4) * std::uint64_t{1} << 20);
    claim.lane_count.store_relaxed(input.below(70));
    claim.ring_vector.store_relaxed(input.flag() ? kRungByStream : input.below(6));
    claim.service.store_relaxed(0);
    if (input.one_in(4)) input.scribble({reinterpret_cast<std::byte*>(&claim), sizeof claim});
    claim.state.store_relaxed(input.one_in(8) ? input.take<std::uint32_t>() : input.below(4));
}

void step(Server& server, const std::shared_ptr<Vm>& vm, Directory& directory, Input& input) {
    switch (input.below(8)) {
        case 0:
            return input.scribble({vm->base(), layout::kAreaBytes});
        case 1:
            return input.scribble({vm->base(), vm->bytes()});
        case 2:
            std::ignore = directory.has_changed();
            std::ignore = directory.has_rung();
            return directory.look();
        case 3:
            if (!server.links.empty()) server.links.front()->ring();
            return;
        case 4:
            if (!server.links.empty()) server.links.erase(server.links.begin());
            return;
        case 5:
            return directory.lose_all();
        default:
            claim(*vm, input);
            return directory.look();
    }
}

}  // namespace
}  // namespace vmrpc::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace vmrpc::fuzz;
    Input input(data, size);
    Server server;
    const auto vm = Vm::make(*server.service, {.uid = 1, .gid = 1, .pid = 1, .vm = 1}).value();
    Directory directory(server.service, vm);
    for (int steps = 0; steps < 60 && !input.is_empty(); ++steps) step(server, vm, directory, input);
    directory.close();
    server.links.clear();
    directory.look();
    return 0;
}
