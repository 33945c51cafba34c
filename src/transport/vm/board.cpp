#include "transport/vm/board.hpp"

#include "base/log.hpp"
#include "transport/vm/byte_lock.hpp"
#include "transport/vm/dax_device.hpp"
#include "transport/vm/memory_file.hpp"
#include "transport/vm/ram/lend_ram.hpp"
#include "transport/vm/serial_port.hpp"
#include "transport/vm/stream_doorbell.hpp"

#include <fmt/format.h>

#include <fcntl.h>

#include <cerrno>
#include <utility>

namespace vmrpc::transport::vm {
namespace {

constexpr std::int64_t kStreamPatienceNs = 500'000'000;
// QEMU connects its ports to a new service within a second.
constexpr std::int64_t kSerialPatienceNs = 3'000'000'000;

base::Status open_dax_memory(Board& board, const Address& address) {
    auto device = open_dax(address.place);
    if (!device) return tl::unexpected(std::move(device).error());
    board.name = "vm:" + device->name;
    board.memory = std::move(device->memory);
    board.memory_bytes = device->bytes;
    return {};
}

/// On the host: the file that is a VM's memory. The other side is in that VM, or on this host too.
base::Status open_file_memory(Board& board, const Address& address) {
    auto memory = open_memory_file(address.place);
    if (!memory) return base::fail(memory.error().status, "vm:" + memory.error().text);
    board.name = "vm:" + address.place;
    board.is_file = true;
    board.memory_offset = memory->segment_offset;
    board.memory_bytes = memory->segment_bytes;
    board.memory = std::move(memory->file);
    return {};
}

/// Memory and interrupts through VFIO. The file of the memory is then the same for all processes: they lock sysfs's.
base::Status open_bar_by_vfio(Board& board, Device device, base::Deadline deadline) {
    auto opened = open_vfio_doorbell(device.address, device.memory.get(), deadline);
    if (!opened) return board.failed(opened.error());
    const int descriptor = opened->memory.descriptor;
    board.memory = notify::GuardedFd::made_by([descriptor] { return ::fcntl(descriptor, F_DUPFD_CLOEXEC, 0); });
    if (!board.memory.valid()) return base::fail_errno("no descriptor is left for a device", errno);
    board.memory_offset = opened->memory.offset;
    board.memory_bytes = opened->memory_bytes;
    board.locks = std::move(device.memory);
    board.doorbell = std::move(opened->doorbell);
    return {};
}

/// The doorbell comes with the memory.
base::Status open_bar_memory(Board& board, const Address& address, base::Deadline deadline) {
    auto device = open_device(address.place);
    if (!device) return tl::unexpected(std::move(device).error());
    board.name = "ivshmem:" + device->address;
    if (has_vfio(device->address)) return open_bar_by_vfio(board, std::move(*device), deadline);
    board.memory = std::move(device->memory);
    board.memory_bytes = device->memory_bytes;
    auto doorbell = open_register_doorbell(std::move(device->registers), device->registers_offset);
    if (!doorbell) return board.failed(doorbell.error());
    board.doorbell = std::move(*doorbell);
    return {};
}

/// Pages of this process; the stream by which the host hears of them rings as well.
base::Status lend_own_memory(Board& board, const Address& address, const Wishes& wishes, base::Deadline deadline) {
    board.name = fmt::format("vm:{}?memory=ram", address.place);
    if (!address.place.empty())
        return base::fail(VMRPC_BAD_ADDRESS,
                          fmt::format("{}: memory=ram has no device to name: in a guest it is vm:?memory=ram, and "
                                      "processes of the host use local:",
                                      board.name));
    auto lent = lend_ram(wishes, deadline);
    if (!lent) return board.failed(lent.error());
    board.memory = std::move(lent->memory);
    board.memory_bytes = lent->bytes;
    board.doorbell = make_stream_doorbell(std::move(lent->stream));
    board.keeper = std::move(lent->keeper);
    board.is_kept = true;
    return {};
}

base::Status open_memory(Board& board, const Address& address, const Wishes& wishes, base::Deadline deadline) {
    if (address.memory == Memory::kRam) return lend_own_memory(board, address, wishes, deadline);
    const bool none_said = address.memory == Memory::kBest;
    if (address.memory != Memory::kBar && address.place.find('/') != std::string::npos)
        return open_file_memory(board, address);
    const bool dax_by_name =
        address.place.empty() ? !dax_devices().empty() || ivshmem_devices().empty() : address.place.starts_with("dax");
    return address.memory == Memory::kDax || (none_said && dax_by_name) ? open_dax_memory(board, address)
                                                                        : open_bar_memory(board, address, deadline);
}

base::Result<layout::Uuid> open_segment(Board& board, bool equal) {
    if (board.memory_bytes < layout::kAreaBytes)
        return board.failed({VMRPC_NOT_VMRPC, fmt::format("the device has {} bytes of memory, a segment's header takes "
                                                          "{}: it belongs to another program",
                                                          board.memory_bytes, layout::kAreaBytes)});
    const auto view = DeviceView::map(board.place(), layout::kAreaBytes);
    if (!view) return board.failed(view.error());
    std::uint64_t magic = 0;
    layout::copy_from_peer(&magic, (*view)->base(), sizeof magic);
    if (magic == 0 && board.doorbell == nullptr)
        return board.failed({VMRPC_NO_SERVER, "no server serves this memory yet: start the service"});
    const auto header = layout::read_segment((*view)->base(), board.memory_bytes);
    if (!header) return board.failed(header.error());
    board.segment_bytes = header->segment_bytes;
    board.entries = header->directory_entries;
    board.server_address = directory_entry((*view)->base(), 0).offer.agreed_address.load_relaxed();
    auto window = Window::open(board.place(), header->segment_bytes, header->uuid, board.server_address, equal);
    if (!window) return board.failed(window.error());
    board.window = std::move(*window);
    return header->uuid;
}

base::Result<std::unique_ptr<Doorbell>> find_doorbell_alone(const Board& board, const layout::Uuid& segment,
                                                            base::Deadline deadline) {
    // One at a time: once VFIO has a device, touching what another process has mapped of it through sysfs is a signal.
    const auto locked = ClaimingLock::take(board.memory.get(), deadline);
    if (!locked) return tl::unexpected(locked.error());
    if (!*locked) return base::fail(VMRPC_TIMED_OUT, "other processes hold the memory's lock");
    const ClaimingLock lock(board.memory.get());
    return find_doorbell(segment, board.memory.get(), deadline);
}

base::Deadline earlier(base::Deadline deadline, std::int64_t most_ns) {
    return !deadline.is_never() && deadline.remaining_ns() < most_ns ? deadline : base::Deadline::in(most_ns);
}

base::Result<std::unique_ptr<Doorbell>> open_doorbell(const Board& board, Ring ring, const layout::Uuid& segment,
                                                      base::Deadline deadline) {
    if (ring == Ring::kVsock) return open_stream_doorbell(segment, deadline);
    if (ring == Ring::kSerial) return open_serial_doorbell(segment, earlier(deadline, kSerialPatienceNs));
    return find_doorbell_alone(board, segment, deadline);
}

/// What rings, with its name. What cannot be had is no error unless it was asked for: without it both sides look.
base::Result<Ring> choose_doorbell(Board& board, Ring wanted, const layout::Uuid& segment, base::Deadline deadline) {
    board.wants_interrupts = wanted != Ring::kPoll;
    if (board.doorbell != nullptr) return board.is_kept ? Ring::kVsock : Ring::kDoorbell;
    if (wanted == Ring::kPoll || board.is_file) return Ring::kPoll;
    std::string reasons;
    for (const Ring ring : {Ring::kDoorbell, Ring::kVsock, Ring::kSerial}) {
        if (wanted != Ring::kBest && wanted != ring) continue;
        // A service that was started anew does not hear of the vsock device: then it is found in another way, in time.
        const bool may_wait = wanted != Ring::kBest || ring == Ring::kDoorbell;
        auto doorbell = open_doorbell(board, ring, segment, may_wait ? deadline : earlier(deadline, kStreamPatienceNs));
        if (!doorbell && wanted == ring) return board.failed(doorbell.error());
        if (doorbell) {
            board.doorbell = std::move(*doorbell);
            return ring;
        }
        reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", name_of(ring), doorbell.error().text);
    }
    base::log().info("{}: nothing rings, both sides look: {}", board.name, reasons);
    return Ring::kPoll;
}

}  // namespace

// The keeper says so too, but later: this process may connect anew at once, and find its place free.
Board::~Board() {
    if (is_kept && doorbell != nullptr) doorbell->ring(kLeave);
}

base::Result<std::unique_ptr<Board>> Board::open(const Address& address, const Wishes& wishes,
                                                 base::Deadline deadline) {
    auto board = std::make_unique<Board>();
    VMRPC_TRY(open_memory(*board, address, wishes, deadline));
    const Memory memory = board->is_kept ? Memory::kRam : board->doorbell == nullptr ? Memory::kDax : Memory::kBar;
    const auto segment = open_segment(*board, wishes.equal_addresses);
    if (!segment) return tl::unexpected(segment.error());
    const auto ring = choose_doorbell(*board, address.ring, *segment, deadline);
    if (!ring) return tl::unexpected(ring.error());
    base::log().info("{}: memory {}, ring {}", board->name, name_of(memory), name_of(*ring));
    return board;
}

tl::unexpected<base::Error> Board::failed(const base::Error& error) const {
    return base::fail(error.status, fmt::format("{}: {}", name, error.text));
}

}  // namespace vmrpc::transport::vm
