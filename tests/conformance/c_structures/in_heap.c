#include "in_heap.h"

#include <stdatomic.h>

static _Thread_local vmrpc_connection* used;
static atomic_int failed_frees;

void structures_use(vmrpc_connection* connection) {
    used = connection;
}

int structures_failed_frees(void) {
    return atomic_load(&failed_frees);
}

void* structures_malloc(size_t bytes);
void structures_free(void* block);

void* structures_malloc(size_t bytes) {
    return vmrpc_malloc(used, bytes, NULL);
}

void structures_free(void* block) {
    if (vmrpc_free(used, block) != VMRPC_OK) atomic_fetch_add(&failed_frees, 1);
}
