// A guest's process lends pages of its own to the service on the host.
#pragma once

#include "base/clock.hpp"
#include "base/result.hpp"
#include "notify/fork_guard.hpp"
#include "transport/transport.hpp"
#include "transport/vm/sentinel.hpp"

#include <cstdint>

namespace vmrpc::transport::vm {

/// Where nothing is wished: of all of it, the heap takes what is left.
inline constexpr std::uint64_t kDefaultRamBytes = std::uint64_t{64} << 20;

/// Bytes to lend for these wishes: a multiple of 2 MiB.
[[nodiscard]] std::uint64_t ram_bytes_for(const Wishes& wishes);

struct LentRam {
    notify::GuardedFd memory;  // the segment is all of it
    std::uint64_t bytes = 0;
    notify::GuardedFd stream;  // to the server, which serves the segment already
    /// Has the pages, keeps them in place, and says that this process is gone; it outlives its dismissal until the
    /// server has let go of the pages, so that they are nobody else's before.
    Sentinel keeper;
};

/// Takes pages, and waits for the server's word. Blocks until `deadline` at the longest, beside the time that taking
/// pages takes. Errors: those of GuestPages::make(), find_sentinel() and open_stream(); what the server refuses with;
/// VMRPC_PEER_LOST, VMRPC_TIMED_OUT.
base::Result<LentRam> lend_ram(const Wishes& wishes, base::Deadline deadline);

}  // namespace vmrpc::transport::vm
