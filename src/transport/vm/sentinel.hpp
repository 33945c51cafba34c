// A sentinel: a process that outlives this one for a moment, to tell the peer that it has died.
//
// Nothing else can: a process that was killed does nothing any more, and the kernels of a host and of a guest do not
// tell each other about processes.
#pragma once

#include "base/result.hpp"
#include "notify/fork_guard.hpp"

#include <string>
#include <vector>

namespace vmrpc::transport::vm {

/// Where the program is: $VMRPC_SENTINEL, the folder of this process's program, that of the shared library, or where it
/// was installed to. Errors: VMRPC_NOT_SUPPORTED, naming all of them.
base::Result<std::string> find_sentinel();

/// A running sentinel. Its end is ordered by destruction; it is nobody's child, so the program that uses the library
/// never sees a SIGCHLD of it, nor a stranger in wait(). Move-only.
class Sentinel {
  public:
    /// Starts `program` with these arguments, and the descriptors from kMemoryFd on. Returns once it runs: from then on
    /// this process's death is told. Errors: VMRPC_OUT_OF_RESOURCES, VMRPC_NOT_SUPPORTED, VMRPC_NOT_PERMITTED.
    static base::Result<Sentinel> start(const std::string& program, std::vector<std::string> arguments,
                                        const std::vector<int>& descriptors);

    Sentinel() = default;
    Sentinel(Sentinel&&) noexcept = default;
    Sentinel& operator=(Sentinel&&) noexcept = default;
    Sentinel(const Sentinel&) = delete;
    Sentinel& operator=(const Sentinel&) = delete;
    ~Sentinel() { dismiss(); }

    /// Orders its end. Does not wait for it. Nothing happens in a forked child.
    void dismiss() noexcept;

  private:
    explicit Sentinel(notify::GuardedFd order) : order_(std::move(order)) {}
    notify::GuardedFd order_;
};

}  // namespace vmrpc::transport::vm
