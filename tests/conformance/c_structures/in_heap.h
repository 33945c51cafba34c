/* Where the three structures, compiled with malloc as structures_malloc and free as structures_free, take their memory
 * from: the heap of this thread's connection. */
#ifndef IN_HEAP_H
#define IN_HEAP_H

#include <vmrpc/vmrpc.h>

#ifdef __cplusplus
extern "C" {
#endif

/* NULL, as at first: that of the call being served. */
void structures_use(vmrpc_connection* connection);
/* Frees of this process that failed. */
int structures_failed_frees(void);

#ifdef __cplusplus
}
#endif

#endif
