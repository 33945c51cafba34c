// A segment that is made of pages of a guest's RAM, mapped here in one range.
#pragma once

#include "transport/mapping.hpp"
#include "transport/vm/ram/ram_file.hpp"
#include "transport/vm/ram/ram_pieces.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace vmrpc::transport::vm {

/// So many mappings of this process may be pieces of guests' RAM: most of what a kernel allows unasked
/// (vm.max_map_count, 65,530).
inline constexpr std::uint32_t kMostRamPieces = 40'000;

/// A part of those, taken until destroyed.
class RamPiecesTaken {
  public:
    /// Errors: VMRPC_OUT_OF_RESOURCES.
    static base::Result<std::unique_ptr<RamPiecesTaken>> take(std::uint32_t count);
    RamPiecesTaken(const RamPiecesTaken&) = delete;
    RamPiecesTaken& operator=(const RamPiecesTaken&) = delete;
    ~RamPiecesTaken();

  private:
    explicit RamPiecesTaken(std::uint32_t count) : count_(count) {}
    std::uint32_t count_;
};

struct RamSegment {
    notify::GuardedFd file;  // the VM's RAM
    std::vector<RamPiece> pieces;
    std::unique_ptr<RamPiecesTaken> taken;  // outlives the mapping
    std::shared_ptr<Mapping> mapping;
    layout::Uuid uuid{};

    /// Maps the pieces, and looks for the guest's marks. Nothing stays mapped if it fails. Blocks for some microseconds
    /// for each piece. A file that is cut off meanwhile raises SIGBUS. Errors: VMRPC_OUT_OF_RESOURCES; VMRPC_NOT_VMRPC
    /// (what is mapped is not what the guest has written: the text says why that can be).
    static base::Result<RamSegment> map(const RamFile& ram, const std::string& path, std::vector<RamPiece> pieces,
                                        std::uint64_t nonce);
};

/// What the sentinel of this process is told of the pieces in front, which are all that it writes to.
std::vector<std::string> sentinel_arguments(const std::vector<RamPiece>& pieces, std::uint64_t segment_bytes);

}  // namespace vmrpc::transport::vm
