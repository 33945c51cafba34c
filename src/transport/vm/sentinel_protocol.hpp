// How the library starts the program vmrpc-sentinel.
//
//     vmrpc-sentinel host SEGMENT_OFFSET SEGMENT_BYTES ENTRIES
//     vmrpc-sentinel guest SEGMENT_OFFSET ENTRY GENERATION [REGISTERS_OFFSET REGISTER_OFFSET]
//
// SEGMENT_OFFSET in the memory's descriptor, REGISTERS_OFFSET in that of the registers, where a page begins, and
// REGISTER_OFFSET of the device's first register from there; without the last two nobody is rung.
// It has these descriptors and no other.
#pragma once

#include <array>

namespace vmrpc::transport::vm {

inline constexpr const char* kSentinelProgram = "vmrpc-sentinel";

enum SentinelDescriptor : int {
    kWardFd = 3,      // pidfd of the process whose death it tells
    kOrderFd = 4,     // a socket: one byte orders the sentinel to end; its end of file means nothing
    kMemoryFd = 5,    // the segment: a memfd, a VM's memory file, or in a guest the device
    kRegistersFd = 6  // in a guest with a doorbell: where its registers are mapped from
};

}  // namespace vmrpc::transport::vm
