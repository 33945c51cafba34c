#include "transport/vm/doorbell.hpp"

#include "base/log.hpp"
#include "transport/vm/doorbell/guest_doorbell.hpp"
#include "transport/vm/doorbell/vfio_binding.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <atomic>
#include <utility>

namespace vmrpc::transport::vm {
namespace {

class RegisterDoorbell final : public Doorbell {
  public:
    RegisterDoorbell(notify::GuardedFd file, std::unique_ptr<DeviceView> view, std::uint64_t offset)
        : file_(std::move(file)), view_(std::move(view)), offset_(offset) {}

    void ring(Vector vector) const noexcept override {
        // seq_cst: the device's register is no memory that a release would order; what was published before comes
        // first in the eyes of whoever is rung, who reads it after the system call that told of the ring
        std::atomic_thread_fence(std::memory_order_seq_cst);
        *reinterpret_cast<volatile std::uint32_t*>(view_->base() + offset_ + kDoorbellOffset) = doorbell_value(vector);
    }
    base::Result<Interrupt> interrupt(std::uint32_t /*entry*/) override { return Interrupt(); }
    [[nodiscard]] base::FilePlace registers() const override { return file_.get(); }
    [[nodiscard]] std::uint64_t register_offset() const override { return offset_; }

  private:
    notify::GuardedFd file_;
    std::unique_ptr<DeviceView> view_;
    std::uint64_t offset_;
};

class InterruptedDoorbell final : public Doorbell {
  public:
    explicit InterruptedDoorbell(std::unique_ptr<GuestDoorbell> device) : device_(std::move(device)) {}

    void ring(Vector vector) const noexcept override { device_->ring(kServerPeer, vector); }
    base::Result<Interrupt> interrupt(std::uint32_t entry) override {
        const std::uint32_t vector = interrupt_of_entry(entry);
        if (vector < device_->vectors()) {
            auto eventfd = device_->interrupt(vector);
            if (!eventfd) return tl::unexpected(std::move(eventfd).error());
            return Interrupt{std::move(*eventfd), vector};
        }
        return base::fail(VMRPC_NOT_SUPPORTED,
                          fmt::format("its device has {} vectors, this process would be interrupted by number {}: give "
                                      "QEMU's device vectors={} or more",
                                      device_->vectors(), vector, vector + 1));
    }
    [[nodiscard]] base::FilePlace registers() const override {
        return {device_->device_descriptor(), device_->registers().offset};
    }
    [[nodiscard]] std::uint64_t register_offset() const override { return 0; }

  private:
    std::unique_ptr<GuestDoorbell> device_;
};

/// Whether memory of a device is a card with this segment's name.
base::Result<bool> names(base::FilePlace memory, std::uint64_t bytes, const layout::Uuid& segment) {
    if (bytes < sizeof(layout::DoorbellCard)) return false;
    const auto view = DeviceView::map(memory, sizeof(layout::DoorbellCard));
    if (!view) return tl::unexpected(view.error());
    layout::DoorbellCard card{};
    layout::copy_from_peer(&card, (*view)->base(), sizeof card);
    return card.magic == layout::kDoorbellMagic && card.layout_major == layout::kLayoutMajor &&
           card.segment_uuid == segment;
}

/// One device: null if it is not this segment's. What another driver has is not taken from it before the device has
/// shown that it is ours.
base::Result<std::unique_ptr<Doorbell>> doorbell_at(const std::string& address, const layout::Uuid& segment, int proof,
                                                    base::Deadline deadline) {
    const bool is_bound = is_bound_to_vfio(address);
    if (!is_bound) {
        auto device = open_device(address);
        if (!device) return tl::unexpected(std::move(device).error());
        const auto ours = names(device->memory.get(), device->memory_bytes, segment);
        if (!ours) return tl::unexpected(ours.error());
        if (!*ours) return nullptr;
        if (!has_vfio(address)) {
            base::log().info(
                "ivshmem:{}: rings, but is not rung, as the VM has no IOMMU for it, or its kernel has not "
                "loaded vfio-pci and vfio_iommu_type1",
                address);
            return open_register_doorbell(std::move(device->registers), device->registers_offset);
        }
    }
    auto opened = open_vfio_doorbell(address, proof, deadline);
    if (!opened) return tl::unexpected(std::move(opened).error());
    const auto ours = names(opened->memory, opened->memory_bytes, segment);
    if (!ours) return tl::unexpected(ours.error());
    return *ours ? std::move(opened->doorbell) : nullptr;
}

}  // namespace

base::Result<std::unique_ptr<Doorbell>> open_register_doorbell(notify::GuardedFd registers, std::uint64_t offset) {
    auto view = DeviceView::map(registers.get(), offset + kRegistersBytes);
    if (!view) return tl::unexpected(std::move(view).error());
    return std::make_unique<RegisterDoorbell>(std::move(registers), std::move(*view), offset);
}

bool has_vfio(const std::string& pci_address) {
    return is_bound_to_vfio(pci_address) ||
           (::access(fmt::format("{}/{}/iommu_group", pci_devices_folder(), pci_address).c_str(), F_OK) == 0 &&
            missing_vfio_modules({}).empty());
}

base::Result<VfioDoorbell> open_vfio_doorbell(const std::string& pci_address, int proof, base::Deadline deadline) {
    auto device = GuestDoorbell::open(pci_address, proof, deadline);
    if (!device) return tl::unexpected(std::move(device).error());
    VfioDoorbell opened;
    opened.memory = {(*device)->device_descriptor(), (*device)->memory().offset};
    opened.memory_bytes = (*device)->memory().bytes;
    opened.doorbell = std::make_unique<InterruptedDoorbell>(std::move(*device));
    return opened;
}

base::Result<std::unique_ptr<Doorbell>> find_doorbell(const layout::Uuid& segment, int proof, base::Deadline deadline) {
    base::Error last{VMRPC_NO_SERVER,
                     "no ivshmem device of this VM rings this segment's server: give it one (`vmrpc qemu-args`)"};
    for (const std::string& address : ivshmem_devices()) {
        auto doorbell = doorbell_at(address, segment, proof, deadline);
        if (doorbell && *doorbell != nullptr) return doorbell;
        if (!doorbell) last = doorbell.error();
    }
    return tl::unexpected(last);
}

}  // namespace vmrpc::transport::vm
