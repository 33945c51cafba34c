// How the library starts the program vmrpc-sentinel.
//
//     vmrpc-sentinel host SEGMENT_BYTES ENTRIES
//     vmrpc-sentinel guest ENTRY GENERATION DOORBELL_PAGE_OFFSET
//
// with these descriptors and no other.
#pragma once

#include <array>

namespace vmrpc::transport::vm {

inline constexpr const char* kSentinelProgram = "vmrpc-sentinel";

enum SentinelDescriptor : int {
    kWardFd = 3,      // pidfd of the process whose death it tells
    kOrderFd = 4,     // a socket: one byte orders the sentinel to end; its end of file means nothing
    kMemoryFd = 5,    // the segment: a memfd, or in a guest the device's resource2
    kRegistersFd = 6  // in a guest: the device's resource0
};

}  // namespace vmrpc::transport::vm
