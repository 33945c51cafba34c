// What a guest says of its pages, checked: nothing of it is believed.
#pragma once

#include "base/result.hpp"
#include "transport/vm/ram/ram_protocol.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace vmrpc::transport::vm {

/// A part of the file that is a VM's RAM.
struct RamPiece {
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    friend bool operator==(const RamPiece&, const RamPiece&) = default;
};

/// Where a guest-physical range lies in the RAM file of a q35 machine. Errors: VMRPC_BAD_ARGUMENT (not aligned, empty,
/// beyond the RAM, or across the hole below 4 GiB).
base::Result<RamPiece> piece_of(const RamRun& run, std::uint64_t ram_bytes);

/// Errors: VMRPC_BAD_ARGUMENT, VMRPC_NOT_SUPPORTED (another version), VMRPC_OUT_OF_RESOURCES (more than `most_bytes`):
/// a hello that no client of ours says to this service. Says nothing of the runs.
base::Status check_hello(const RamHello& hello, std::uint64_t most_bytes);

/// The pieces that make the segment, in its order. Refuses pages that are there twice: no client lends any so. Errors:
/// VMRPC_BAD_ARGUMENT.
base::Result<std::vector<RamPiece>> check_runs(std::span<const RamRun> runs, std::uint64_t segment_bytes,
                                               std::uint64_t ram_bytes);

}  // namespace vmrpc::transport::vm
