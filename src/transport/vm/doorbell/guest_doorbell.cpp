#include "transport/vm/doorbell/guest_doorbell.hpp"

#include "transport/vm/protocol.hpp"

#include <fmt/format.h>

#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace vmrpc::transport::vm {
namespace {

constexpr std::int64_t kAnswerLimitNs = 10'000'000'000;
constexpr std::uint32_t kMaxVectors = 2048;  // of MSI-X

}  // namespace

GuestDoorbell::GuestDoorbell(BrokerClient broker, BrokerReply opened)
    : broker_(std::move(broker)),
      device_(std::move(opened.descriptor)),
      vectors_(opened.answer.vectors),
      registers_{opened.answer.registers_offset, opened.answer.registers_bytes},
      memory_{opened.answer.memory_offset, opened.answer.memory_bytes},
      generation_(notify::process_generation()) {}

base::Result<std::unique_ptr<GuestDoorbell>> GuestDoorbell::open(const std::string& pci_address, int proof,
                                                                 base::Deadline deadline) {
    BrokerReply opened;
    auto broker = BrokerClient::connect(pci_address, proof, deadline, opened);
    if (!broker) return tl::unexpected(std::move(broker).error());
    std::unique_ptr<GuestDoorbell> doorbell(new GuestDoorbell(std::move(*broker), std::move(opened)));
    VMRPC_TRY(doorbell->check(pci_address));
    doorbell->map_registers();
    return doorbell;
}

/// That it is a VFIO device's descriptor, and not, say, a file that somebody can make shorter.
base::Status GuestDoorbell::check(const std::string& pci_address) const {
    vfio_device_info info{};
    info.argsz = sizeof info;
    if (::ioctl(device_.get(), VFIO_DEVICE_GET_INFO, &info) == 0 && (info.flags & VFIO_DEVICE_FLAGS_PCI) != 0 &&
        registers_.bytes >= kRegistersBytes && vectors_ != 0 && vectors_ <= kMaxVectors)
        return {};
    return base::fail(VMRPC_POISONED, fmt::format("{}: what the doorbell's broker sent is no device", pci_address));
}

void GuestDoorbell::map_registers() {
    const auto page_bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    // Keeps a fork from falling between mmap and MADV_DONTFORK.
    const std::lock_guard lock(fork_lock(notify::ForkLock::kMappings));
    void* mapped = ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, device_.get(),
                          static_cast<off_t>(registers_.offset));
    // Registers that share their page with another device's cannot be mapped: ring() then writes to the descriptor.
    if (mapped == MAP_FAILED) return;
    if (::madvise(mapped, page_bytes, MADV_DONTFORK) != 0) {
        ::munmap(mapped, page_bytes);
        return;
    }
    page_ = static_cast<std::byte*>(mapped);
}

GuestDoorbell::~GuestDoorbell() {
    // In a forked child the page was never mapped, and something else may be there by now.
    if (page_ != nullptr && generation_ == notify::process_generation())
        ::munmap(page_, static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
}

base::Result<notify::GuardedFd> GuestDoorbell::interrupt(std::uint32_t vector) {
    if (generation_ != notify::process_generation())
        return base::fail(VMRPC_CLOSED, "a forked child cannot use its parent's doorbell: open one");
    const std::lock_guard lock(mutex_);
    return broker_.vector(vector, base::Deadline::in(kAnswerLimitNs));
}

void GuestDoorbell::ring(std::uint32_t peer, std::uint32_t vector) const noexcept {
    if (generation_ != notify::process_generation()) return;
    const std::uint32_t value = (peer << 16) | (vector & 0xffff);
    // seq_cst: what was stored, into memory of whatever caching, is visible before the host is told of it
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (page_ != nullptr) {
        *reinterpret_cast<volatile std::uint32_t*>(page_ + kDoorbellOffset) = value;
        return;
    }
    const auto place = static_cast<off_t>(registers_.offset + kDoorbellOffset);
    static_cast<void>(::pwrite(device_.get(), &value, sizeof value, place));
}

}  // namespace vmrpc::transport::vm
