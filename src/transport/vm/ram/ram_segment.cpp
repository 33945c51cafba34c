#include "transport/vm/ram/ram_segment.hpp"

#include "layout/shared_word.hpp"
#include "transport/vm/sentinel_protocol.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <utility>

namespace vmrpc::transport::vm {
namespace {

// relaxed: a count, nothing hangs on its order.
std::atomic<std::uint32_t> pieces_taken{0};

std::uint64_t bytes_of(const std::vector<RamPiece>& pieces) {
    std::uint64_t bytes = 0;
    for (const RamPiece& piece : pieces) bytes += piece.bytes;
    return bytes;
}

/// An address that is likely to be free in the guest's process too. Nothing is at it but a place for what follows: a
/// memfd without pages.
base::Result<std::shared_ptr<Mapping>> reserve(std::uint64_t bytes, const layout::Uuid& uuid) {
    const auto nothing = make_segment_memory(bytes);
    if (!nothing) return tl::unexpected(nothing.error());
    auto mapping = Mapping::at_common_slot(SlotMap::all_free(), nothing->get(), bytes, uuid);
    return mapping ? std::move(mapping) : Mapping::anywhere(nothing->get(), bytes, uuid);
}

base::Status map_pieces(std::byte* base, std::uint64_t bytes, int file, const std::vector<RamPiece>& pieces) {
    // Keeps a fork from falling between mmap and MADV_DONTFORK.
    const std::lock_guard lock(fork_lock(notify::ForkLock::kMappings));
    std::byte* place = base;
    for (const RamPiece& piece : pieces) {
        if (::mmap(place, piece.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file,
                   static_cast<off_t>(piece.offset)) == MAP_FAILED)
            return base::fail_errno(
                fmt::format("cannot map {} bytes of the VM's RAM at {}: its file must be of pages of 4 KiB (tmpfs, "
                            "no hugetlbfs)",
                            piece.bytes, piece.offset),
                errno);
        place += piece.bytes;
    }
    if (::madvise(base, bytes, MADV_DONTFORK) == 0 && ::madvise(base, bytes, MADV_DONTDUMP) == 0) return {};
    return base::fail_errno("cannot keep a VM's RAM from forked children", errno);
}

base::Status check_marks(const std::byte* base, const std::vector<RamPiece>& pieces, const std::string& path,
                         std::uint64_t nonce) {
    std::uint64_t offset = 0;
    for (const RamPiece& piece : pieces) {
        RamMark mark{};
        layout::copy_from_peer(&mark, base + offset, sizeof mark);
        if (mark.nonce != nonce || mark.offset != offset)
            return base::fail(
                VMRPC_NOT_VMRPC,
                fmt::format("what the guest has written is not in {}: the VM was started without share=on or with "
                            "another RAM file, or is no q35 machine (`vmrpc qemu-args` prints what is needed)",
                            path));
        offset += piece.bytes;
    }
    return {};
}

}  // namespace

base::Result<std::unique_ptr<RamPiecesTaken>> RamPiecesTaken::take(std::uint32_t count) {
    std::unique_ptr<RamPiecesTaken> taken(new RamPiecesTaken(count));
    if (pieces_taken.fetch_add(count, std::memory_order_relaxed) <= kMostRamPieces - count) return taken;
    return base::fail(
        VMRPC_OUT_OF_RESOURCES,
        fmt::format("the guests' RAM is in too many pieces: {} more are wanted, the service maps {} in all: "
                    "wish a smaller heap_bytes, or let the guests have huge pages",
                    count, kMostRamPieces));
}

RamPiecesTaken::~RamPiecesTaken() {
    pieces_taken.fetch_sub(count_, std::memory_order_relaxed);
}

base::Result<RamSegment> RamSegment::map(const RamFile& ram, const std::string& path, std::vector<RamPiece> pieces,
                                         std::uint64_t nonce) {
    const std::uint64_t bytes = bytes_of(pieces);
    RamSegment segment;
    auto taken = RamPiecesTaken::take(static_cast<std::uint32_t>(pieces.size()));
    if (!taken) return tl::unexpected(std::move(taken).error());
    segment.taken = std::move(*taken);
    segment.uuid = layout::make_uuid();
    segment.file = notify::GuardedFd::made_by([&ram] { return ::fcntl(ram.file.get(), F_DUPFD_CLOEXEC, 0); });
    if (!segment.file.valid()) return base::fail_errno("no descriptor is left for a VM's RAM", errno);
    auto mapping = reserve(bytes, segment.uuid);
    if (!mapping) return tl::unexpected(std::move(mapping).error());
    segment.mapping = std::move(*mapping);
    VMRPC_TRY(map_pieces(segment.mapping->base(), bytes, ram.file.get(), pieces));
    VMRPC_TRY(check_marks(segment.mapping->base(), pieces, path, nonce));
    segment.pieces = std::move(pieces);
    return segment;
}

std::vector<std::string> sentinel_arguments(const std::vector<RamPiece>& pieces, std::uint64_t segment_bytes) {
    std::vector<std::string> arguments{"host-ram", std::to_string(segment_bytes)};
    std::uint64_t left = kSentinelRamBytes;
    for (const RamPiece& piece : pieces) {
        if (left == 0) break;
        const std::uint64_t bytes = std::min(piece.bytes, left);
        arguments.push_back(std::to_string(piece.offset));
        arguments.push_back(std::to_string(bytes));
        left -= bytes;
    }
    return arguments;
}

}  // namespace vmrpc::transport::vm
