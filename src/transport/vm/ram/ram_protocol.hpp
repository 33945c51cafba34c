// memory=ram: how a process of a guest lends pages of its own to the service on the host, over any stream between them.
//
//     guest → host    RamHello, then run_count × RamRun: guest-physical addresses, in the order of the segment
//     host → guest    RamAnswer; with another status than VMRPC_OK the stream ends
//     both            every byte is a ring, as on other streams (protocol.hpp); kLeave from the guest ends the
//                     segment, as does the stream's end
//
// Before it says hello the guest writes a RamMark at the first page of each run: the host finds them there, or what it
// has mapped is not what the guest meant. Whoever uses the segment last on the host writes kRamReleased in place of the
// segment's magic: from then on nobody there touches the pages, and the guest's kernel may have them back.
#pragma once

#include "layout/stack_parts.hpp"

#include <array>
#include <cstdint>

namespace vmrpc::transport::vm {

inline constexpr std::uint32_t kRamMagic = 0x656d6152;  // "Rame" in memory
inline constexpr std::uint32_t kRamVersion = 1;

struct RamHello {
    std::uint32_t magic;
    std::uint32_t version;
    std::uint64_t segment_bytes;
    std::uint64_t nonce;
    std::uint32_t run_count;
    std::uint32_t reserved;
};
static_assert(sizeof(RamHello) == 32);

/// Pages that follow each other in the guest's physical addresses.
struct RamRun {
    std::uint64_t address;
    std::uint64_t bytes;
};
static_assert(sizeof(RamRun) == 16);

struct RamMark {
    std::uint64_t nonce;
    std::uint64_t offset;  // of this page in the segment
};

struct RamAnswer {
    std::uint32_t magic;
    std::uint32_t status;         // vmrpc_status
    std::array<char, 1016> text;  // why not, NUL-terminated
};
static_assert(sizeof(RamAnswer) == 1024);

/// Of each lane's RPC stack: code can run on it, and not more, as every byte is there whether it is used or not.
inline constexpr std::uint64_t kRamStackBytes = layout::kMinExecutionStackBytes;

/// Pages of the guest are counted in these.
inline constexpr std::uint64_t kRamPageBytes = 4096;
/// Of one segment: 64 MiB of single pages. Each is a mapping of the service's, of which its kernel allows so many.
inline constexpr std::uint32_t kMostRamRuns = 16'384;
inline constexpr std::uint64_t kMostRamBytes = std::uint64_t{1} << 40;

inline constexpr std::uint64_t kRamReleased = 0x31454552'46504d56;  // "VMPFREE1" in memory

}  // namespace vmrpc::transport::vm
