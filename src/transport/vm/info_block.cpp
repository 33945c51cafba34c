#include "transport/vm/info_block.hpp"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <string_view>

namespace vmrpc::transport::vm {
namespace {

static_assert(std::endian::native == std::endian::little, "the block is little-endian, as it lies in memory");

constexpr std::uint32_t kPageBytes = 4096;
constexpr std::uint16_t kPageStructBytes = 64;  // the kernel refuses a block made for a larger struct page than its own
constexpr std::uint32_t kMemmapInRam = 1;

/// struct nd_pfn_sb, version 1.4.
struct Block {
    std::array<char, 16> signature;
    layout::Uuid uuid;
    std::array<std::uint8_t, 16> parent_uuid;
    std::uint32_t flags;
    std::uint16_t version_major;
    std::uint16_t version_minor;
    std::uint64_t data_offset;
    std::uint64_t pages;
    std::uint32_t mode;
    std::uint32_t start_pad_bytes;
    std::uint32_t end_trunc_bytes;
    std::uint32_t align_bytes;
    std::uint32_t page_bytes;
    std::uint16_t page_struct_bytes;
    std::array<std::uint8_t, 3994> padding;
    std::uint64_t sum;
};
static_assert(sizeof(Block) == kInfoBlockBytes && offsetof(Block, data_offset) == 56 && offsetof(Block, sum) == 4088);

constexpr std::array<char, 16> kSignature{'N', 'V', 'D', 'I', 'M', 'M', '_', 'D', 'A', 'X', '_', 'I', 'N', 'F', 'O', 0};

/// Fletcher's sum over 32-bit words, in 64 bits; the block's own sum counts as 0.
std::uint64_t sum_of(Block block) {
    block.sum = 0;
    const auto words = std::bit_cast<std::array<std::uint32_t, kInfoBlockBytes / sizeof(std::uint32_t)>>(block);
    std::uint32_t low = 0;
    std::uint64_t high = 0;
    for (const std::uint32_t word : words) {
        low += word;
        high += low;
    }
    return high << 32 | low;
}

tl::unexpected<base::Error> wrong(const std::string& what) {
    return base::fail(VMRPC_NOT_VMRPC, fmt::format("its info block at offset {} {}: it was not made by `vmrpc "
                                                   "qemu-args`, or something has overwritten it; make it anew",
                                                   kInfoBlockOffset, what));
}

}  // namespace

InfoBlock make_info_block(const DaxMemory& memory) {
    Block block{};
    block.signature = kSignature;
    block.uuid = memory.uuid;
    block.version_major = 1;
    block.version_minor = 4;
    block.data_offset = kDaxDataOffset;
    block.pages = memory.data_bytes / kPageBytes;
    block.mode = kMemmapInRam;
    block.align_bytes = kPageBytes;
    block.page_bytes = kPageBytes;
    block.page_struct_bytes = kPageStructBytes;
    block.sum = sum_of(block);
    return std::bit_cast<InfoBlock>(block);
}

base::Result<DaxMemory> read_info_block(const InfoBlock& bytes, std::uint64_t file_bytes) {
    const auto block = std::bit_cast<Block>(bytes);
    if (block.signature != kSignature) return wrong("has no signature \"NVDIMM_DAX_INFO\"");
    if (block.sum != sum_of(block)) return wrong(fmt::format("has the sum {:#x}, not {:#x}", block.sum, sum_of(block)));
    if (block.version_major != 1 || block.mode != kMemmapInRam || block.data_offset != kDaxDataOffset ||
        block.start_pad_bytes != 0 || block.end_trunc_bytes != 0 || block.page_bytes != kPageBytes)
        return wrong(fmt::format("is of version {}.{}, mode {}, data at {}: not ours", block.version_major,
                                 block.version_minor, block.mode, block.data_offset));
    if (block.pages == 0 || block.pages > (UINT64_MAX - kDaxDataOffset) / kPageBytes ||
        kDaxDataOffset + block.pages * kPageBytes > file_bytes)
        return wrong(
            fmt::format("speaks of {} pages, of which the file's {} bytes have no room", block.pages, file_bytes));
    return DaxMemory{block.uuid, block.pages * kPageBytes};
}

}  // namespace vmrpc::transport::vm
