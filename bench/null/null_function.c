#include "null/null_function.h"

void bench_null(void) {}

vmrpc_status bench_null_calls(vmrpc_connection* connection, int calls) {
    for (int i = 0; i < calls; ++i) {
        const vmrpc_status status = bench_null_call(connection, NULL);
        if (status != VMRPC_OK) return status;
    }
    return VMRPC_OK;
}
