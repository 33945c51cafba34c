#include "vmrpc/vm/setup.hpp"

#include "transport/vm/info_block.hpp"
#include "transport/vm/memory_file.hpp"
#include "transport/vm/ram/ram_file.hpp"
#include "transport/vm/waiting_qemu.hpp"
#include "vmrpc/failure.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <filesystem>
#include <system_error>

namespace tool {
namespace {

namespace fs = std::filesystem;
namespace vm = vmrpc::transport::vm;

constexpr std::uint64_t kDefaultSegmentBytes = std::uint64_t{1} << 30;
constexpr std::uint64_t kRoundBytes = std::uint64_t{2} << 20;  // what make_memory_file() rounds to
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 40;
constexpr std::uint32_t kFirstGuestCid = 3;

std::string absolute_folder(const std::string& written) {
    if (written.empty() || is_device_name(written))
        throw Failure(
            fmt::format("vm:{} is a guest's address: the host's is vm:FOLDER, the service's folder", written));
    const std::string folder = fs::absolute(written).lexically_normal().string();
    return folder.size() > 1 && folder.back() == '/' ? folder.substr(0, folder.size() - 1) : folder;
}

void make_folder(const std::string& folder) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error || !fs::is_directory(folder))
        throw Failure(fmt::format("cannot make the folder {}: {}", folder,
                                  error ? error.message() : "there is a file of that name"));
}

std::string as_text(const vmrpc::layout::Uuid& uuid) {
    std::string text;
    for (std::size_t i = 0; i < uuid.size(); ++i)
        text += fmt::format("{}{:02x}", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
    return text;
}

void check_size(const VmSetup& setup, std::uint64_t wanted) {
    const std::uint64_t rounded = (wanted + kRoundBytes - 1) / kRoundBytes * kRoundBytes;
    if (setup.segment_bytes != rounded)
        throw Failure(
            fmt::format("{} is there with a segment of {} bytes, not {}: leave --size out to keep it, or end VM {} and "
                        "remove the file first",
                        setup.memory_path, setup.segment_bytes, rounded, setup.name));
}

/// The VM's file, made if it is missing.
void provide_memory(VmSetup& setup, const VmWishes& wishes) {
    setup.memory_path = setup.path_of("mem");
    auto memory = vm::open_memory_file(setup.memory_path);
    if (!memory && memory.error().status == VMRPC_NO_SERVER) {
        const auto made =
            vm::make_memory_file(setup.memory_path, wishes.segment_bytes.value_or(kDefaultSegmentBytes), wishes.mode);
        // Somebody else may have made it meanwhile: then theirs is looked at.
        if (!made && made.error().status != VMRPC_ADDRESS_IN_USE) throw Failure(made.error().text);
        setup.was_made = made.has_value();
        memory = vm::open_memory_file(setup.memory_path);
    }
    if (!memory) throw Failure(memory.error().text);
    setup.segment_bytes = memory->segment_bytes;
    setup.file_bytes = fs::file_size(setup.memory_path);
    setup.uuid = as_text(memory->uuid);
    if (wishes.segment_bytes) check_size(setup, *wishes.segment_bytes);
}

/// The file that is to be the VM's RAM, made if it is missing.
void provide_ram(VmSetup& setup, const VmWishes& wishes) {
    setup.ram_path = setup.path_of("ram");
    if (!fs::exists(setup.ram_path)) {
        if (!wishes.ram_bytes)
            throw Failure(
                fmt::format("memory=ram: {} is to be made, which is all of the VM's RAM: say how much that is, "
                            "as in --ram 4G",
                            setup.ram_path));
        const auto made = vm::make_ram_file(setup.ram_path, *wishes.ram_bytes, wishes.mode);
        // Somebody else may have made it meanwhile: then theirs is looked at.
        if (!made && made.error().status != VMRPC_ADDRESS_IN_USE) throw Failure(made.error().text);
        setup.was_made = made.has_value();
    }
    const auto ram = vm::open_ram_file(setup.ram_path);
    if (!ram) throw Failure(ram.error().text);
    if (wishes.ram_bytes && *wishes.ram_bytes != ram->bytes)
        throw Failure(
            fmt::format("{} is there with {} bytes, not {}: leave --ram out to keep it, or end VM {} and remove "
                        "the file first",
                        setup.ram_path, ram->bytes, *wishes.ram_bytes, setup.name));
    setup.ram_bytes = ram->bytes;
}

unsigned settled_processes(const VmAddress& address, const VmWishes& wishes) {
    if (address.processes && wishes.processes && *address.processes != *wishes.processes)
        throw Failure(fmt::format("the address says processes={}, --processes says {}: the service goes by its address",
                                  *address.processes, *wishes.processes));
    return address.processes.value_or(wishes.processes.value_or(vm::kDefaultProcesses));
}

void check_combination(const VmAddress& address, const VmWishes& wishes) {
    if (address.memory == VmMemory::kBar && (address.ring == VmRing::kVsock || address.ring == VmRing::kSerial))
        throw Failure("memory=bar comes with a doorbell: take ring=doorbell or ring=poll, or memory=dax");
    if (address.memory == VmMemory::kBar && wishes.segment_bytes)
        throw Failure(
            "--size is for memory=dax: with memory=bar the service makes the memory, as large as its "
            "heap_bytes asks for");
    if (address.memory == VmMemory::kRam && wishes.segment_bytes)
        throw Failure(
            "--size is for memory=dax: with memory=ram each process lends as much as its heap_bytes asks for, "
            "and --ram is the VM's RAM");
    if (address.memory == VmMemory::kRam && wishes.vsock_by == VsockBy::kKernel)
        throw Failure("memory=ram: the service answers over its own vsock device alone: take --vsock service");
    if (wishes.segment_bytes && *wishes.segment_bytes > kMostBytes)
        throw Failure(fmt::format("--size: {} bytes are too many: {} at most", *wishes.segment_bytes, kMostBytes));
    if (wishes.ram_bytes &&
        (*wishes.ram_bytes % kMib != 0 || *wishes.ram_bytes == 0 || *wishes.ram_bytes > 64 * kMostBytes))
        throw Failure(fmt::format("--ram: {} bytes are no whole MiB, as in --ram 4G", *wishes.ram_bytes));
    if (wishes.cid && (*wishes.cid < kFirstGuestCid || *wishes.cid == UINT32_MAX))
        throw Failure(
            fmt::format("--cid {}: a guest's number is from {} to {}", *wishes.cid, kFirstGuestCid, UINT32_MAX - 1));
}

}  // namespace

std::string VmSetup::path_of(const char* kind) const {
    return fmt::format("{}/{}.{}", folder, name, kind);
}

std::string VmSetup::doorbell_path() const {
    if (memory == VmMemory::kBar) return waits ? path_of("bar") + vm::kWaitingSuffix : folder + "/bar.doorbell";
    return path_of("doorbell") + (waits ? vm::kWaitingSuffix : "");
}

bool VmSetup::has_doorbell() const {
    return memory == VmMemory::kBar || ring == VmRing::kDoorbell;
}

// The device lies at a multiple of its alignment, above the RAM.
std::uint64_t VmSetup::room_mib() const {
    return (file_bytes + kGib - 1) / kGib * (kGib / kMib);
}

VmSetup settle(const VmWishes& wishes) {
    const VmAddress address = parse_vm_address(wishes.address);
    VmSetup setup;
    setup.name = wishes.name;
    setup.folder = absolute_folder(address.folder);
    check_vm_name(setup.name, setup.folder);
    check_combination(address, wishes);
    setup.memory = address.memory;
    setup.ring = address.ring;
    setup.processes = settled_processes(address, wishes);
    setup.device = wishes.device;
    setup.vsock_by = wishes.vsock_by.value_or(VsockBy::kService);
    setup.cid = wishes.cid;
    setup.waits = wishes.waits;
    if (setup.waits && !setup.needs_service())
        throw Failure(
            fmt::format("--wait is for ring=doorbell and ring=vsock: with ring={} QEMU starts without its service",
                        name_of(setup.ring)));
    setup.ram_bytes = wishes.ram_bytes;
    make_folder(setup.folder);
    if (setup.memory == VmMemory::kDax) provide_memory(setup, wishes);
    if (setup.memory == VmMemory::kRam) provide_ram(setup, wishes);
    return setup;
}

}  // namespace tool
