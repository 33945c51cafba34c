// A service's folder: each NAME.mem, or NAME.ram, in it is a VM that the service serves, whenever the file comes and
// goes. QEMU gives a VM's memory to the guest as a device; `vmrpc qemu-args` makes the file and says how.
//
// One service has a folder: it holds the socket bar.doorbell, at which VMs arrive that get their memory through BAR 2.
// A QEMU that is to get it, and is started before the service, waits at NAME.bar.qemu.
#pragma once

#include "base/clock.hpp"
#include "notify/housekeeper.hpp"
#include "transport/vm/bar_listener.hpp"
#include "transport/vm/folder_vm.hpp"

#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace vmrpc::transport::vm {

class FolderListener final : public Listener {
  public:
    FolderListener(Address address, std::shared_ptr<Service> service);
    ~FolderListener() override;

    /// Makes the folder if there is none, serves what is there, and looks for what comes. Errors:
    /// VMRPC_ADDRESS_IN_USE, VMRPC_BAD_ADDRESS, VMRPC_NOT_PERMITTED, VMRPC_OUT_OF_RESOURCES.
    base::Status start();

  private:
    base::Status watch_folder();
    void on_change();
    void look();
    void look_later();
    void scan();
    void end_what_has_changed();
    [[nodiscard]] std::map<std::string, FolderVm::Has> find_vms() const;
    void begin(const std::string& name, FolderVm::Has has);
    void refuse(const std::string& name, const base::Error& why);

    const Address address_;
    const std::shared_ptr<Service> service_;
    std::unique_ptr<BarListener> bar_;
    notify::GuardedFd changes_;  // inotify
    // Under the sink's mutex, by NAME.
    std::map<std::string, std::shared_ptr<FolderVm>> vms_;
    std::map<std::string, std::string> refused_;  // why, as the log has it
    base::Deadline soon_until_ = base::Deadline::at(0);
    std::mutex watches_mutex_;  // taken after the sink's
    notify::Watch watch_;       // under watches_mutex_, as the next one
    notify::Watch next_look_;
};

}  // namespace vmrpc::transport::vm
