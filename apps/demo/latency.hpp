// How long a call takes that does nothing, beside one byte there and back over a socket.
#pragma once

#include "echo.hpp"
#include "progress.hpp"
#include "report.hpp"

#include <vmrpc/vmrpc.hpp>

namespace demo {

/// In alternating rounds, so that whatever else the machine does meets both. `echo` may be nullptr. Throws Failure.
LatencyReport measure_latency(const vmrpc::Client& client, EchoClient* echo, Progress& progress);

/// The call alone, in fewer rounds. Throws Failure.
Percentiles measure_null_call(const vmrpc::Client& client);

}  // namespace demo
