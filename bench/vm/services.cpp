#include "vm/services.hpp"

#include "vmrpc/vm/qemu_args.hpp"
#include "vmrpc/vm/setup.hpp"

#include <fmt/format.h>

namespace vmrpc::bench {
namespace {

using tool::kGib;
using tool::kMib;

Service make_service(const std::string& folder, const Combination& combination, Kind kind) {
    const bool spins = kind == Kind::kSpins;
    Service service;
    service.address = fmt::format("vm:{}?memory={}&ring={}", folder, combination.memory,
                                  spins ? combination.spin_ring : combination.ring);
    service.heap_bytes = spins ? 0 : 16 * kMib;
    tool::VmWishes wishes;
    wishes.address = service.address;
    wishes.name = spins ? "spin" : "sleep";
    wishes.ram_bytes = kRamMib * kMib;
    wishes.vsock_by = tool::VsockBy::kService;
    if (combination.memory != "bar") wishes.segment_bytes = spins ? kGib : kGib / 4;
    const tool::VmSetup setup = tool::settle(wishes);
    service.qemu_args = tool::qemu_args(setup);
    service.file_bytes = setup.file_bytes;
    return service;
}

}  // namespace

// On a tmpfs, as operators are told: what is on a disk is written out now and then.
Services::Services(const Combination& combination) : folder_("/dev/shm") {
    for (const Kind kind : {Kind::kSpins, Kind::kSleeps})
        services_[static_cast<std::size_t>(kind)] = make_service(folder_.fresh(), combination, kind);
}

std::vector<std::string> Services::qemu_args(std::size_t floor_bytes) const {
    std::vector<std::string> words;
    std::uint64_t room_mib = (floor_bytes + kGib) / kMib;
    for (const Service& service : services_) {
        words.insert(words.end(), service.qemu_args.begin(), service.qemu_args.end());
        room_mib += (service.file_bytes + kGib) / kMib;  // each may begin at a multiple of 1 GiB
    }
    // The last one holds: those above have room for one device each.
    words.insert(words.end(), {"-m", fmt::format("{}M,slots=4,maxmem={}M", kRamMib, kRamMib + room_mib)});
    return words;
}

}  // namespace vmrpc::bench
