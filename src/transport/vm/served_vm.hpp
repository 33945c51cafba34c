// A VM that this server serves: its memory, the directory in it, and whatever makes the server look there.
#pragma once

#include "notify/housekeeper.hpp"
#include "transport/vm/directory.hpp"
#include "transport/vm/looker.hpp"
#include "transport/vm/vm.hpp"

#include <memory>

namespace vmrpc::transport::vm {

/// Housekeeping thread, but for close() and destruction.
class ServedVm : public std::enable_shared_from_this<ServedVm> {
  public:
    enum class Looking {
        kNo,   // every process of this VM rings
        kYes,  // some may have nothing to ring with
    };

    ServedVm(std::shared_ptr<Service> service, std::shared_ptr<Vm> vm);

    /// Starts the sentinel, and to look at the directory. Errors: VMRPC_OUT_OF_RESOURCES, VMRPC_NOT_SUPPORTED (no
    /// sentinel).
    base::Status start(Looking looking);
    /// The VM is gone, or has none of its devices any more: its connections are lost. May report events, which may end
    /// the listener.
    void lose_all();
    /// The listener ends: the guest's processes are told. Any thread.
    void close() { directory_.close(); }
    /// Nothing is looked at any more.
    void stop();

    [[nodiscard]] Vm& vm() const { return *vm_; }

  private:
    Looker::Pace look_around();

    std::shared_ptr<Service> service_;
    std::shared_ptr<Vm> vm_;
    Directory directory_;
    notify::Watch directory_watch_;
    Looker looker_;
};

}  // namespace vmrpc::transport::vm
