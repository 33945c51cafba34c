#include "transport/vm/device_listener.hpp"

#include "transport/vm/dax_device.hpp"

#include <fmt/format.h>

#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace vmrpc::transport::vm {
namespace {

constexpr std::int64_t kLockLimitNs = 2'000'000'000;
constexpr useconds_t kLockPauseUs = 10'000;

bool lock_for_server(int memory) {
    const auto deadline = base::Deadline::in(kLockLimitNs);
    while (::flock(memory, LOCK_EX | LOCK_NB) != 0) {
        if (deadline.passed()) return false;
        ::usleep(kLockPauseUs);
    }
    return true;
}

}  // namespace

DeviceListener::~DeviceListener() {
    {
        const std::lock_guard lock(service_->sink->mutex);
        service_->sink->events = nullptr;
    }
    // Without the mutex: a callback that has begun waits for it, and these wait for the callback.
    if (served_ == nullptr) return;
    served_->stop();
    served_->close();
}

base::Status DeviceListener::start(const std::string& name) {
    auto device = open_dax(name, DaxUse::kServe);
    if (!device) return tl::unexpected(std::move(device).error());
    service_->name = "vm:" + device->name;
    if (!lock_for_server(device->memory.get()))
        return base::fail(VMRPC_ADDRESS_IN_USE, fmt::format("{}: another server of this VM has it", service_->name));
    const Peer peer{.uid = 0, .gid = 0, .pid = 0, .vm = ++service_->last_vm};
    auto vm = Vm::make_on({std::move(device->memory), 0, device->bytes, layout::make_uuid()}, *service_, peer);
    if (!vm) return base::fail(vm.error().status, fmt::format("{}: {}", service_->name, vm.error().text));
    served_ = std::make_shared<ServedVm>(service_, std::move(*vm));
    return served_->start(ServedVm::Looking::kYes);
}

}  // namespace vmrpc::transport::vm
