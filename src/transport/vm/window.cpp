#include "transport/vm/window.hpp"

#include "notify/fork_guard.hpp"
#include "transport/mapping.hpp"

#include <fmt/format.h>

#include <sys/mman.h>

#include <cerrno>
#include <map>
#include <mutex>

namespace vmrpc::transport::vm {
namespace {

constexpr int kReservation = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

// The windows of this process. Guarded by ForkLock::kMappings; never destroyed, as static objects may hold links.
std::map<layout::Uuid, std::weak_ptr<Window>>& windows() {
    static auto& map = *new std::map<layout::Uuid, std::weak_ptr<Window>>();
    return map;
}

/// A forked child gets neither the memory nor, if it crashes, a dump of it.
bool keep_private(void* base, std::uint64_t bytes) {
    return ::madvise(base, bytes, MADV_DONTFORK) == 0 && ::madvise(base, bytes, MADV_DONTDUMP) == 0;
}

void* reserve_at(std::uint64_t address, std::uint64_t bytes) {
    void* wanted = reinterpret_cast<void*>(address);
    void* base = ::mmap(wanted, bytes, PROT_NONE, kReservation | MAP_FIXED_NOREPLACE, -1, 0);
    if (base == MAP_FAILED || base == wanted) return base;
    ::munmap(base, bytes);  // kernels before 4.17 take the address as a wish
    return MAP_FAILED;
}

void* reserve_anywhere(std::uint64_t bytes, std::uint64_t not_at) {
    const std::uint64_t wide = bytes + kMappingAlignment;
    void* gap = ::mmap(nullptr, wide, PROT_NONE, kReservation, -1, 0);
    if (gap == MAP_FAILED) return gap;
    ::munmap(gap, wide);
    const auto begin = reinterpret_cast<std::uint64_t>(gap);
    const std::uint64_t base = (begin + kMappingAlignment - 1) / kMappingAlignment * kMappingAlignment;
    return base == not_at ? MAP_FAILED : reserve_at(base, bytes);
}

}  // namespace

DeviceView::DeviceView(std::byte* base, std::uint64_t bytes)
    : base_(base), bytes_(bytes), generation_(notify::process_generation()) {}

base::Result<std::unique_ptr<DeviceView>> DeviceView::map(base::FilePlace device, std::uint64_t bytes) {
    const std::lock_guard lock(fork_lock(notify::ForkLock::kMappings));
    void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, device.descriptor,
                          static_cast<off_t>(device.offset));
    if (mapped == MAP_FAILED) return base::fail_errno(fmt::format("cannot map {} bytes of the device", bytes), errno);
    std::unique_ptr<DeviceView> view(new DeviceView(static_cast<std::byte*>(mapped), bytes));
    if (!keep_private(mapped, bytes)) return base::fail_errno("cannot keep the device from forked children", errno);
    return view;
}

DeviceView::~DeviceView() {
    if (generation_ == notify::process_generation()) ::munmap(base_, bytes_);
}

Window::Window(std::byte* base, std::uint64_t bytes)
    : base_(base), bytes_(bytes), generation_(notify::process_generation()) {}

Window::~Window() {
    // In a forked child the range was never mapped, and may hold something else by now.
    if (generation_ != notify::process_generation()) return;
    const std::lock_guard lock(fork_lock(notify::ForkLock::kMappings));
    std::erase_if(windows(), [](const auto& item) { return item.second.expired(); });
    ::munmap(base_, bytes_);
}

// Requires ForkLock::kMappings, which keeps a fork from falling between mmap and MADV_DONTFORK.
base::Result<std::shared_ptr<Window>> Window::reserve(std::uint64_t bytes, std::uint64_t address, bool equal) {
    constexpr int tries = 8;
    void* base = equal ? reserve_at(address, bytes) : MAP_FAILED;
    // Another thread may take the gap between finding and using it.
    for (int i = 0; i < tries && base == MAP_FAILED; ++i) base = reserve_anywhere(bytes, address);
    if (base == MAP_FAILED)
        return base::fail(VMRPC_OUT_OF_RESOURCES, fmt::format("no room for {} bytes in the address space", bytes));
    if (keep_private(base, bytes)) return std::shared_ptr<Window>(new Window(static_cast<std::byte*>(base), bytes));
    const int error = errno;
    ::munmap(base, bytes);
    return base::fail_errno("cannot reserve address space", error);
}

base::Result<std::shared_ptr<Window>> Window::open(base::FilePlace memory, std::uint64_t bytes,
                                                   const layout::Uuid& uuid, std::uint64_t address, bool equal) {
    std::shared_ptr<Window> window;  // released, if it fails, after the lock
    const std::lock_guard lock(fork_lock(notify::ForkLock::kMappings));
    equal = equal && address % kMappingAlignment == 0 && in_slots(address, bytes);
    if (equal) {
        if (const auto found = windows().find(uuid); found != windows().end()) window = found->second.lock();
        if (window != nullptr) return window;
    }
    auto reserved = reserve(bytes, address, equal);
    if (!reserved) return tl::unexpected(std::move(reserved).error());
    window = std::move(*reserved);
    VMRPC_TRY(window->map_locked(memory, {0, layout::kAreaBytes}));
    if (window->address() == address) windows()[uuid] = window;
    return window;
}

base::Status Window::map(base::FilePlace memory, const layout::Extent& part) const {
    const std::lock_guard lock(fork_lock(notify::ForkLock::kMappings));
    return map_locked(memory, part);
}

base::Status Window::map_locked(base::FilePlace memory, const layout::Extent& part) const {
    void* place = base_ + part.offset;
    void* mapped = ::mmap(place, part.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory.descriptor,
                          static_cast<off_t>(memory.offset + part.offset));
    if (mapped == MAP_FAILED)
        return base::fail_errno(fmt::format("cannot map {} bytes of the device at {}", part.bytes, part.offset), errno);
    if (keep_private(mapped, part.bytes)) return {};
    const int error = errno;
    unmap(part);
    return base::fail_errno("cannot keep the device from forked children", error);
}

void Window::unmap(const layout::Extent& part) const noexcept {
    if (generation_ != notify::process_generation()) return;
    void* place = base_ + part.offset;
    // Replaced in one step: nothing else can get in between. Should it fail, the memory only stays visible.
    if (::mmap(place, part.bytes, PROT_NONE, kReservation | MAP_FIXED, -1, 0) == place) keep_private(place, part.bytes);
}

}  // namespace vmrpc::transport::vm
