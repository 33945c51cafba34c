#include "transport/vm/ram/ram_pieces.hpp"

#include "transport/vm/memory_file.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace vmrpc::transport::vm {
namespace {

constexpr std::uint64_t kFourGib = std::uint64_t{1} << 32;
// As QEMU's q35 lays RAM out: all of it below, if it ends before the devices begin; else 2 GiB of it.
constexpr std::uint64_t kSplitFrom = 0xb000'0000;
constexpr std::uint64_t kLowIfSplit = 0x8000'0000;

/// Requires pieces that do not overflow.
bool overlap(std::vector<RamPiece> pieces) {
    std::sort(pieces.begin(), pieces.end(),
              [](const RamPiece& one, const RamPiece& other) { return one.offset < other.offset; });
    return std::adjacent_find(pieces.begin(), pieces.end(), [](const RamPiece& one, const RamPiece& next) {
               return next.offset < one.offset + one.bytes;
           }) != pieces.end();
}

}  // namespace

base::Result<RamPiece> piece_of(const RamRun& run, std::uint64_t ram_bytes) {
    const std::uint64_t low_bytes = ram_bytes >= kSplitFrom ? kLowIfSplit : ram_bytes;
    const bool is_high = run.address >= kFourGib;
    const std::uint64_t begin = is_high ? kFourGib : 0;
    const std::uint64_t room = is_high ? ram_bytes - low_bytes : low_bytes;
    const std::uint64_t within = run.address - begin;
    if (run.address % kRamPageBytes != 0 || run.bytes % kRamPageBytes != 0 || run.bytes == 0 || within >= room ||
        run.bytes > room - within)
        return base::fail(
            VMRPC_BAD_ARGUMENT,
            fmt::format("{} bytes at guest-physical {:#x} are no pages of the VM's RAM, of which {} bytes "
                        "are known here",
                        run.bytes, run.address, ram_bytes));
    return RamPiece{is_high ? low_bytes + within : within, run.bytes};
}

base::Status check_hello(const RamHello& hello, std::uint64_t most_bytes) {
    if (hello.magic != kRamMagic || hello.reserved != 0)
        return base::fail(VMRPC_BAD_ARGUMENT, "this is no hello of memory=ram");
    if (hello.version != kRamVersion)
        return base::fail(VMRPC_NOT_SUPPORTED,
                          fmt::format("memory=ram of version {} is spoken here, the guest's is {}: install the same "
                                      "vmrpc on both",
                                      kRamVersion, hello.version));
    if (hello.segment_bytes % layout::kAreaBytes != 0 || hello.segment_bytes < kMinSegmentBytes ||
        hello.segment_bytes > kMostRamBytes)
        return base::fail(VMRPC_BAD_ARGUMENT, fmt::format("a segment of {} bytes cannot be: {} are the least",
                                                          hello.segment_bytes, kMinSegmentBytes));
    if (hello.segment_bytes > most_bytes)
        return base::fail(
            VMRPC_OUT_OF_RESOURCES,
            fmt::format("a segment of {} bytes is more than the {} that the service takes: wish a smaller "
                        "heap_bytes, or raise the service's",
                        hello.segment_bytes, most_bytes));
    if (hello.run_count == 0 || hello.run_count > kMostRamRuns)
        return base::fail(VMRPC_BAD_ARGUMENT, fmt::format("a segment of {} runs cannot be: {} are the most",
                                                          hello.run_count, kMostRamRuns));
    return {};
}

base::Result<std::vector<RamPiece>> check_runs(std::span<const RamRun> runs, std::uint64_t segment_bytes,
                                               std::uint64_t ram_bytes) {
    std::vector<RamPiece> pieces;
    pieces.reserve(runs.size());
    std::uint64_t left = segment_bytes;
    for (const RamRun& run : runs) {
        const auto piece = piece_of(run, ram_bytes);
        if (!piece) return tl::unexpected(piece.error());
        if (piece->bytes > left)
            return base::fail(VMRPC_BAD_ARGUMENT,
                              fmt::format("the runs have more than the segment's {} bytes", segment_bytes));
        left -= piece->bytes;
        pieces.push_back(*piece);
    }
    if (left != 0)
        return base::fail(VMRPC_BAD_ARGUMENT,
                          fmt::format("the runs lack {} of the segment's {} bytes", left, segment_bytes));
    if (overlap(pieces)) return base::fail(VMRPC_BAD_ARGUMENT, "the runs have a page twice");
    return pieces;
}

}  // namespace vmrpc::transport::vm
