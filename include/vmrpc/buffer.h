/* vmrpc: a monotonic buffer, for what is built for one call and freed at once: allocating is moving a pointer inside a
 * block of the heap, single allocations are not freed.
 *
 *     vmrpc_buffer buffer = VMRPC_BUFFER(connection, 0);
 *     struct item* items = VMRPC_BUFFER_ALLOCATE(&buffer, count * sizeof *items, _Alignof(struct item));
 *     ... build, call ...
 *     VMRPC_BUFFER_RELEASE(&buffer);
 *
 * One thread at a time. The peer can use what is in it in place, and must not free it. */
#ifndef VMRPC_BUFFER_H
#define VMRPC_BUFFER_H

#include "vmrpc/vmrpc.h"

/* All of it is this library's: make one with VMRPC_BUFFER, and release it before its connection is closed. It lies in
 * private memory, and so does its list of blocks: the peer can change only data. */
typedef struct vmrpc_buffer {
    char* next; /* free space of the last block */
    char* end;
    vmrpc_connection* connection;
    size_t block_bytes; /* of the next block; doubled with each, up to 8 MiB */
    void** blocks;
    size_t block_count;
    size_t block_room;
} vmrpc_buffer;

/* An initialiser: of an empty buffer, whose blocks come from this side's half of the connection's heap (NULL: that of
 * the call being served when it allocates). The first block has `first_block_bytes`, 0: 64 KiB. */
#define VMRPC_BUFFER(connection, first_block_bytes) \
    { NULL, NULL, (connection), (first_block_bytes), NULL, 0, 0 }

/* `bytes` bytes, not cleared, until the buffer is released; `alignment` is a power of two up to 2 MiB. Does not block.
 * NULL on failure, and VMRPC_LAST_STATUS() says why: as vmrpc_malloc. */
#define VMRPC_BUFFER_ALLOCATE(buffer, bytes, alignment) vmrpc_impl_buffer_allocate(buffer, bytes, alignment)
/* Frees everything that was allocated from the buffer; it is then empty and may be used again. Returns
 * VMRPC_OK, or the first failure of vmrpc_free. */
#define VMRPC_BUFFER_RELEASE(buffer) vmrpc_impl_buffer_release(buffer)

static inline void* vmrpc_impl_buffer_allocate(vmrpc_buffer* buffer, size_t bytes, size_t alignment) {
    const size_t left = (size_t)(buffer->end - buffer->next);
    /* Alignments that are none end up in the slow path, which refuses them, or in bounds. */
    const size_t padding = (size_t)(0 - (uintptr_t)buffer->next) & (alignment - 1);
    if (__builtin_expect(padding < left && bytes <= left - padding, 1)) {
        char* const begin = buffer->next + padding;
        buffer->next = begin + bytes;
        return begin;
    }
    return vmrpc_impl_buffer_grow(buffer, bytes, alignment);
}

#endif
