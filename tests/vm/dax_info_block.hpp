// What makes the guest's kernel show a virtio-pmem device as /dev/dax*, mapped write-back (struct nd_pfn_sb of Linux).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace vmrpc::vm {

inline constexpr std::size_t kDaxInfoOffset = 4096;
inline constexpr std::size_t kDaxDataOffset = std::size_t{2} << 20;  // of the guest's byte 0 in the file

struct DaxInfoBlock {
    char signature[16] = "NVDIMM_DAX_INFO";
    std::uint8_t uuid[16] = {};
    std::uint8_t parent_uuid[16] = {};
    std::uint32_t flags = 0;
    std::uint16_t version_major = 1;
    std::uint16_t version_minor = 4;
    std::uint64_t data_offset = kDaxDataOffset;
    std::uint64_t pages = 0;
    std::uint32_t mode = 1;  // the kernel's own pages for it are in RAM
    std::uint32_t start_pad = 0;
    std::uint32_t end_cut = 0;
    std::uint32_t align = 4096;
    std::uint32_t page_size = 4096;
    std::uint16_t page_struct_size = 64;
    std::uint8_t padding[3994] = {};
    std::uint64_t checksum = 0;
};
static_assert(sizeof(DaxInfoBlock) == 4096);

inline std::uint64_t fletcher64(std::span<const std::byte> bytes) {
    std::uint32_t low = 0;
    std::uint64_t high = 0;
    for (std::size_t i = 0; i + 4 <= bytes.size(); i += 4) {
        std::uint32_t word = 0;
        std::memcpy(&word, &bytes[i], sizeof word);
        low += word;
        high += low;
    }
    return high << 32 | low;
}

// Writes the block into the file of `file_bytes` that is mapped at `file`.
inline void write_dax_info(std::byte* file, std::size_t file_bytes, std::uint8_t number) {
    DaxInfoBlock block;
    block.uuid[0] = number;
    block.pages = (file_bytes - kDaxDataOffset) / 4096;
    block.checksum = fletcher64(std::as_bytes(std::span{&block, 1}));
    std::memcpy(file + kDaxInfoOffset, &block, sizeof block);
}

}  // namespace vmrpc::vm
