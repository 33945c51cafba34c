/* The function that does nothing, and calling it from C. */
#ifndef VMRPC_BENCH_NULL_FUNCTION_H
#define VMRPC_BENCH_NULL_FUNCTION_H

#include <vmrpc/vmrpc.h>

VMRPC_DECLARE_VOID(bench_null, VMRPC_NO_ARGUMENTS)

#ifdef __cplusplus
extern "C" {
#endif

/* Calls it that often, through the macro's stub; stops at the first failure and returns it. */
vmrpc_status bench_null_calls(vmrpc_connection* connection, int calls);

#ifdef __cplusplus
}
#endif

#endif
