// The slow paths of the monotonic buffer: its blocks.
#include "guarded.hpp"

#include <vmrpc/buffer.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace vmrpc {
namespace {

constexpr std::size_t kFirstBlockBytes = std::size_t{64} * 1024;
constexpr std::size_t kLargestBlockBytes = std::size_t{8} * 1024 * 1024;

/// Room for one more in the list of blocks.
bool make_room(vmrpc_buffer& buffer) {
    if (buffer.block_count < buffer.block_room) return true;
    const std::size_t room = std::max<std::size_t>(8, 2 * buffer.block_room);
    auto* blocks = static_cast<void**>(std::realloc(buffer.blocks, room * sizeof(void*)));
    if (blocks == nullptr) return false;
    buffer.blocks = blocks;
    buffer.block_room = room;
    return true;
}

}  // namespace
}  // namespace vmrpc

extern "C" {

// The rest of the last block is given up: what does not fit there is rare, or large.
void* vmrpc_impl_buffer_grow(vmrpc_buffer* buffer, size_t bytes, size_t alignment) {
    if (alignment == 0) {  // which vmrpc_malloc would take for its default
        vmrpc::failed({VMRPC_BAD_ARGUMENT, "an alignment of 0; give a power of two up to 2 MiB"});
        return nullptr;
    }
    if (!vmrpc::make_room(*buffer)) {
        vmrpc::failed({VMRPC_OUT_OF_RESOURCES, "no private memory for a monotonic buffer's list of blocks"});
        return nullptr;
    }
    const size_t planned = buffer->block_bytes == 0 ? vmrpc::kFirstBlockBytes : buffer->block_bytes;
    // Never less than a byte: what is allocated has an address of its own.
    size_t block_bytes = std::max({planned, bytes, size_t{1}});
    const vmrpc_malloc_options options{.struct_bytes = sizeof options, .alignment = alignment, .heap = 0};
    auto* block = static_cast<char*>(vmrpc_malloc(buffer->connection, block_bytes, &options));
    if (block == nullptr && VMRPC_LAST_STATUS() == VMRPC_HEAP_FULL && block_bytes > bytes) {
        block_bytes = std::max(bytes, size_t{1});  // a full heap may still have room for what is needed
        block = static_cast<char*>(vmrpc_malloc(buffer->connection, block_bytes, &options));
    }
    if (block == nullptr) return nullptr;
    buffer->blocks[buffer->block_count++] = block;
    buffer->block_bytes = std::max(planned, std::min(2 * planned, vmrpc::kLargestBlockBytes));
    buffer->next = block + bytes;
    buffer->end = block + block_bytes;
    return block;
}

vmrpc_status vmrpc_impl_buffer_release(vmrpc_buffer* buffer) {
    vmrpc_status status = VMRPC_OK;
    for (size_t i = 0; i < buffer->block_count; ++i) {
        const vmrpc_status freed = vmrpc_free(buffer->connection, buffer->blocks[i]);
        if (status == VMRPC_OK) status = freed;
    }
    std::free(buffer->blocks);
    *buffer = VMRPC_BUFFER(buffer->connection, buffer->block_bytes);
    return status;
}
}
