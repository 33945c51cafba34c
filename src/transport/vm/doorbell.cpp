#include "transport/vm/doorbell.hpp"

#include <fmt/format.h>

#include <atomic>
#include <utility>

namespace vmrpc::transport::vm {
namespace {

class RegisterDoorbell final : public Doorbell {
  public:
    RegisterDoorbell(notify::GuardedFd file, std::unique_ptr<DeviceView> view, std::uint64_t offset)
        : file_(std::move(file)), view_(std::move(view)), offset_(offset) {}

    void ring(Vector vector) const noexcept override {
        std::atomic_thread_fence(std::memory_order_seq_cst);
        *reinterpret_cast<volatile std::uint32_t*>(view_->base() + offset_ + kDoorbellOffset) = doorbell_value(vector);
    }
    base::Result<notify::GuardedFd> interrupt(std::uint32_t /*vector*/) override { return notify::GuardedFd(); }
    [[nodiscard]] base::FilePlace registers() const override { return file_.get(); }
    [[nodiscard]] std::uint64_t register_offset() const override { return offset_; }

  private:
    notify::GuardedFd file_;
    std::unique_ptr<DeviceView> view_;
    std::uint64_t offset_;
};

/// Whether the device's memory is a card with this segment's name.
base::Result<bool> names(const Device& device, const layout::Uuid& segment) {
    if (device.memory_bytes < sizeof(layout::DoorbellCard)) return false;
    const auto view = DeviceView::map(device.memory.get(), sizeof(layout::DoorbellCard));
    if (!view) return tl::unexpected(view.error());
    layout::DoorbellCard card{};
    layout::copy_from_peer(&card, (*view)->base(), sizeof card);
    return card.magic == layout::kDoorbellMagic && card.layout_major == layout::kLayoutMajor &&
           card.segment_uuid == segment;
}

}  // namespace

base::Result<std::unique_ptr<Doorbell>> open_register_doorbell(notify::GuardedFd registers, std::uint64_t offset) {
    auto view = DeviceView::map(registers.get(), offset + kRegistersBytes);
    if (!view) return tl::unexpected(std::move(view).error());
    return std::make_unique<RegisterDoorbell>(std::move(registers), std::move(*view), offset);
}

base::Result<std::unique_ptr<Doorbell>> find_doorbell(const layout::Uuid& segment) {
    base::Error last{VMRPC_NO_SERVER,
                     "no ivshmem device of this VM rings this segment's server: give it one (`vmrpc qemu-args`)"};
    for (const std::string& address : ivshmem_devices()) {
        auto device = open_device(address);
        const auto found = device ? names(*device, segment) : tl::unexpected(device.error());
        if (found && *found) return open_register_doorbell(std::move(device->registers), device->registers_offset);
        if (!found) last = found.error();
    }
    return tl::unexpected(last);
}

}  // namespace vmrpc::transport::vm
