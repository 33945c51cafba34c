#include "transport/vm/doorbell/vfio_device.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace vmrpc::transport::vm {
namespace {

/// The steps of opening a device, in their order.
class Opening {
  public:
    Opening(const std::string& address, const VfioPlaces& places, const std::string& group)
        : address_(address), places_(places), group_(group) {}

    base::Result<VfioDevice> run() {
        VMRPC_TRY(open_container());
        VMRPC_TRY(open_group());
        VMRPC_TRY(open_device());
        VMRPC_TRY(find_regions());
        VMRPC_TRY(enable());
        VMRPC_TRY(take_interrupts());
        return std::move(opened_);
    }

  private:
    tl::unexpected<base::Error> fail(vmrpc_status status, const std::string& text) const {
        return base::fail(status, fmt::format("{}: {}", address_, text));
    }
    tl::unexpected<base::Error> fail_errno(const std::string& what, int error) const {
        return base::fail_errno(fmt::format("{}: {}", address_, what), error);
    }

    base::Status open_container();
    base::Status open_group();
    base::Status open_device();
    base::Status find_regions();
    base::Status enable();
    base::Status take_interrupts();
    [[nodiscard]] base::Status check_viable() const;
    [[nodiscard]] base::Result<VfioRegion> region(std::uint32_t index) const;
    [[nodiscard]] base::Status set_interrupts(std::uint32_t count) const;

    const std::string& address_;
    const VfioPlaces& places_;
    const std::string& group_;
    VfioDevice opened_;
};

base::Status Opening::open_container() {
    const std::string path = places_.vfio + "/vfio";
    opened_.container = notify::GuardedFd::made_by([&path] { return ::open(path.c_str(), O_RDWR | O_CLOEXEC); });
    if (!opened_.container.valid()) {
        if (errno == EACCES || errno == EPERM)
            return fail(VMRPC_NOT_PERMITTED,
                        fmt::format("user {} may not open {}: as root, chmod 666 it, as systems do "
                                    "by themselves",
                                    ::geteuid(), path));
        return fail(VMRPC_NOT_SUPPORTED,
                    fmt::format("cannot open {}: load the modules: modprobe -a vfio-pci vfio_iommu_type1", path));
    }
    if (::ioctl(opened_.container.get(), VFIO_GET_API_VERSION) != VFIO_API_VERSION)
        return fail(VMRPC_NOT_SUPPORTED, fmt::format("{} has not version {} of VFIO", path, VFIO_API_VERSION));
    if (::ioctl(opened_.container.get(), VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) <= 0)
        return fail(VMRPC_NOT_SUPPORTED, "the module vfio_iommu_type1 is not loaded: modprobe vfio_iommu_type1");
    return {};
}

base::Status Opening::open_group() {
    const std::string path = fmt::format("{}/{}", places_.vfio, group_);
    opened_.group = notify::GuardedFd::made_by([&path] { return ::open(path.c_str(), O_RDWR | O_CLOEXEC); });
    if (!opened_.group.valid()) {
        if (errno == EACCES || errno == EPERM)
            return fail(VMRPC_NOT_PERMITTED,
                        fmt::format("user {} may not open {}: as root, chown it, or for every boot a udev rule: "
                                    "SUBSYSTEM==\"vfio\", GROUP=\"vmrpc\", MODE=\"0660\"",
                                    ::geteuid(), path));
        if (errno == EBUSY)
            return fail(VMRPC_ADDRESS_IN_USE,
                        fmt::format("another process has {} open, and one alone can: end it", path));
        return fail_errno(fmt::format("cannot open {}", path), errno);
    }
    VMRPC_TRY(check_viable());
    int container = opened_.container.get();
    if (::ioctl(opened_.group.get(), VFIO_GROUP_SET_CONTAINER, &container) != 0)
        return fail_errno(fmt::format("cannot use IOMMU group {}", group_), errno);
    if (::ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) == 0) return {};
    if (errno == EPERM)
        return fail(VMRPC_NOT_SUPPORTED, "the VM's IOMMU does not remap interrupts: give it intel-iommu,intremap=on");
    return fail_errno("cannot set the group's IOMMU", errno);
}

base::Status Opening::check_viable() const {
    vfio_group_status status{};
    status.argsz = sizeof status;
    if (::ioctl(opened_.group.get(), VFIO_GROUP_GET_STATUS, &status) != 0)
        return fail_errno(fmt::format("cannot look at IOMMU group {}", group_), errno);
    if ((status.flags & VFIO_GROUP_FLAGS_VIABLE) != 0) return {};
    return fail(
        VMRPC_NOT_SUPPORTED,
        fmt::format("IOMMU group {0} has devices with other drivers (see /sys/kernel/iommu_groups/{0}/devices): "
                    "put the ivshmem device directly on the root bus (bus=pcie.0)",
                    group_));
}

base::Status Opening::open_device() {
    opened_.device = notify::GuardedFd::made_by(
        [this] { return ::ioctl(opened_.group.get(), VFIO_GROUP_GET_DEVICE_FD, address_.c_str()); });
    if (opened_.device.valid()) return {};
    return fail_errno("cannot open the device", errno);
}

base::Result<VfioRegion> Opening::region(std::uint32_t index) const {
    vfio_region_info info{};
    info.argsz = sizeof info;
    info.index = index;
    if (::ioctl(opened_.device.get(), VFIO_DEVICE_GET_REGION_INFO, &info) == 0 && info.size != 0)
        return VfioRegion{info.offset, info.size};
    return fail(VMRPC_NOT_VMRPC, fmt::format("the device has no region {}", index));
}

base::Status Opening::find_regions() {
    auto registers = region(VFIO_PCI_BAR0_REGION_INDEX);
    if (!registers) return tl::unexpected(std::move(registers).error());
    auto memory = region(VFIO_PCI_BAR2_REGION_INDEX);
    if (!memory) return tl::unexpected(std::move(memory).error());
    opened_.registers = *registers;
    opened_.memory = *memory;
    return {};
}

/// Memory: BARs answer. Master: the device may write, as it does for an interrupt.
base::Status Opening::enable() {
    const auto config = region(VFIO_PCI_CONFIG_REGION_INDEX);
    if (!config) return tl::unexpected(config.error());
    const auto place = static_cast<off_t>(config->offset + PCI_COMMAND);
    std::uint16_t command = 0;
    if (::pread(opened_.device.get(), &command, sizeof command, place) == sizeof command) {
        command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
        if (::pwrite(opened_.device.get(), &command, sizeof command, place) == sizeof command) return {};
    }
    return fail_errno("cannot enable the device", errno);
}

base::Status Opening::take_interrupts() {
    vfio_irq_info info{};
    info.argsz = sizeof info;
    info.index = VFIO_PCI_MSIX_IRQ_INDEX;
    if (::ioctl(opened_.device.get(), VFIO_DEVICE_GET_IRQ_INFO, &info) != 0)
        return fail_errno("cannot look at the device's interrupts", errno);
    if (info.count == 0)
        return fail(VMRPC_NOT_SUPPORTED,
                    "the device has no MSI-X vectors: it must be ivshmem-doorbell, with as many as processes are to "
                    "wait (vectors=N)");
    for (std::uint32_t i = 0; i < info.count; ++i) {
        opened_.interrupts.push_back(notify::GuardedFd::made_by([] { return ::eventfd(0, EFD_CLOEXEC); }));
        if (!opened_.interrupts.back().valid()) return fail_errno("cannot make an eventfd", errno);
    }
    return set_interrupts(info.count);
}

base::Status Opening::set_interrupts(std::uint32_t count) const {
    std::vector<std::uint32_t> buffer(sizeof(vfio_irq_set) / sizeof(std::uint32_t) + count);
    static_assert(sizeof(vfio_irq_set) % sizeof(std::uint32_t) == 0 && sizeof(int) == sizeof(std::uint32_t));
    vfio_irq_set set{};
    set.argsz = static_cast<std::uint32_t>(buffer.size() * sizeof(std::uint32_t));
    set.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    set.index = VFIO_PCI_MSIX_IRQ_INDEX;
    set.count = count;
    std::memcpy(buffer.data(), &set, sizeof set);
    for (std::uint32_t i = 0; i < count; ++i)
        buffer[buffer.size() - count + i] = static_cast<std::uint32_t>(opened_.interrupts[i].get());
    const int result = ::ioctl(opened_.device.get(), VFIO_DEVICE_SET_IRQS, buffer.data());
    if (result == 0) return {};
    if (result > 0)  // as many as could be had
        return fail(VMRPC_NOT_SUPPORTED,
                    fmt::format("the device has {} interrupt vectors, the VM's system gave only {}: give the device "
                                "fewer (vectors=N)",
                                count, result));
    return fail_errno(fmt::format("cannot take the device's {} interrupts", count), errno);
}

}  // namespace

base::Result<VfioDevice> open_vfio_device(const std::string& address, const VfioPlaces& places) {
    const auto group = bind_to_vfio(address, places);
    if (!group) return tl::unexpected(group.error());
    return Opening(address, places, *group).run();
}

}  // namespace vmrpc::transport::vm
