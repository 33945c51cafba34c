// Ctrl-C: a benchmark ends in order, with what it has measured so far.
#pragma once

#include <cstdint>
#include <stdexcept>

namespace vmrpc::bench {

/// Thrown where a run is to end early: interrupted, or out of time.
struct Stopped : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// From now on SIGINT, SIGTERM and SIGHUP are taken by wait_readable() alone. Before any thread and any child.
void catch_interrupts();
/// In a child: leaves Ctrl-C to its parent, which ends it, and lets other signals be what they were.
void ignore_interrupts();

/// Waits until a descriptor can be read or has ended. `until_ns` is of base::now_ns().
/// Throws Stopped on a signal, and once that time has come.
void wait_readable(int descriptor, std::int64_t until_ns);

}  // namespace vmrpc::bench
