// How the library starts the program vmrpc-sentinel.
//
//     vmrpc-sentinel host SEGMENT_OFFSET SEGMENT_BYTES ENTRIES
//     vmrpc-sentinel host-ram SEGMENT_BYTES (OFFSET BYTES)…
//     vmrpc-sentinel guest SEGMENT_OFFSET ENTRY GENERATION [REGISTERS_OFFSET REGISTER_OFFSET]
//     vmrpc-sentinel guest-ram
//
// SEGMENT_OFFSET in the memory's descriptor, REGISTERS_OFFSET in that of the registers, where a page begins, and
// REGISTER_OFFSET of the device's first register from there; without the last two nobody is rung. OFFSET and BYTES in a
// VM's RAM of the parts that make the segment's first kSentinelRamBytes. It has these descriptors and no other.
#pragma once

#include <cstdint>

namespace vmrpc::transport::vm {

inline constexpr const char* kSentinelProgram = "vmrpc-sentinel";

enum SentinelDescriptor : int {
    kWardFd = 3,       // pidfd of the process whose death it tells
    kOrderFd = 4,      // a socket: one byte orders the sentinel to end; its end of file means nothing
    kMemoryFd = 5,     // the segment: a memfd, a VM's memory file, or in a guest the device
    kRegistersFd = 6,  // in a guest with a doorbell: where its registers are mapped from
    kPinFd = 6,        // guest-ram: what keeps the segment's pages where they are
    kStreamFd = 7      // guest-ram: to the server
};

/// Header area and control page of a segment with one entry: what a sentinel on the host writes to.
inline constexpr std::uint64_t kSentinelRamBytes = std::uint64_t{128} * 1024;

}  // namespace vmrpc::transport::vm
