// Memory of this process whose pages stay where they are, and where that is in the guest's physical addresses.
#pragma once

#include "base/result.hpp"
#include "notify/fork_guard.hpp"
#include "transport/vm/ram/ram_protocol.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace vmrpc::transport::vm {

/// Pages of a file without a name. They are pinned for as long as anybody has `pin` open, and exist for as long as
/// anybody has that or `file`.
struct GuestPages {
    notify::GuardedFd file;
    notify::GuardedFd pin;  // an io_uring with the pages as registered buffers: nothing moves or swaps those
    std::uint64_t bytes = 0;
    std::uint64_t nonce = 0;
    std::vector<RamRun> runs;

    /// Takes so many bytes, a multiple of 2 MiB, of huge pages as far as the system has them; marks, pins and finds
    /// them. Blocks while the system clears them. Errors:
    ///   VMRPC_NOT_PERMITTED       this process has no CAP_SYS_ADMIN, may not use io_uring, or not pin so much
    ///   VMRPC_NOT_SUPPORTED       the kernel has no io_uring
    ///   VMRPC_OUT_OF_RESOURCES    memory; too many runs, as the guest's memory is in small pieces
    static base::Result<GuestPages> make(std::uint64_t bytes);
};

/// Adds a page behind the last run, or to it. Public for tests.
void append_page(std::vector<RamRun>& runs, std::uint64_t address);

}  // namespace vmrpc::transport::vm
