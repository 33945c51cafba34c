#include "transport/vm/served_vm.hpp"

#include "transport/vm/protocol.hpp"

#include <sys/epoll.h>

#include <utility>

namespace vmrpc::transport::vm {

ServedVm::ServedVm(std::shared_ptr<Service> service, std::shared_ptr<Vm> vm)
    : service_(std::move(service)), vm_(std::move(vm)), directory_(service_, vm_) {}

base::Status ServedVm::start(Looking looking) {
    // Before the guest can see anything of the server that it would have to be told the death of.
    VMRPC_TRY(vm_->start_sentinel(*service_));
    // The callbacks hold this only while they run: its owner may drop it in the middle of one.
    auto watch = notify::watch(vm_->bells()[kDirectoryVector].get(), EPOLLIN | EPOLLET,
                               [self = weak_from_this()](std::uint32_t) {
                                   if (const auto vm = self.lock()) vm->directory_.look();
                               });
    if (!watch) return tl::unexpected(std::move(watch).error());
    directory_watch_ = std::move(*watch);
    if (looking == Looking::kNo) return {};
    return looker_.start([self = weak_from_this()] {
        const auto vm = self.lock();
        return vm != nullptr ? vm->look_around() : Looker::Pace::kUnlikely;
    });
}

Looker::Pace ServedVm::look_around() {
    const bool rung = directory_.has_rung();
    if (rung) vm_->ring_requests();
    const bool changed = directory_.has_changed();
    if (changed) directory_.look();
    if (rung || changed) return Looker::Pace::kBusy;
    const bool rings = vm_->has_doorbell() || vm_->has_streams();
    return !rings || directory_.has_any_that_cannot_ring() ? Looker::Pace::kWaiting : Looker::Pace::kUnlikely;
}

void ServedVm::lose_all() {
    directory_.lose_all();
}

void ServedVm::stop() {
    looker_.stop();
    directory_watch_.reset();
}

}  // namespace vmrpc::transport::vm
