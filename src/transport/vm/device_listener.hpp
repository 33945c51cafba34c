// A server in a guest, for clients on the host or in another VM that is given the same memory: it formats the device's
// segment and serves the directory in it, as a server on the host does with the file.
#pragma once

#include "transport/vm/served_vm.hpp"

#include <memory>
#include <string>

namespace vmrpc::transport::vm {

class DeviceListener final : public Listener {
  public:
    explicit DeviceListener(std::shared_ptr<Service> service) : service_(std::move(service)) {}
    ~DeviceListener() override;

    /// Opens the dax device of this name, or the only one, and begins to serve. Waits up to 2 s for a server before it
    /// that has just died. Errors: those of open_dax(); VMRPC_ADDRESS_IN_USE (another server has it),
    /// VMRPC_OUT_OF_RESOURCES, VMRPC_NOT_SUPPORTED.
    base::Status start(const std::string& name);

  private:
    const std::shared_ptr<Service> service_;
    std::shared_ptr<ServedVm> served_;
};

}  // namespace vmrpc::transport::vm
