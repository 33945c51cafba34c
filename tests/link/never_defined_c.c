/* The same in C: what VMRPC_DECLARE declares is called through its stub, and never defined. */
#include <vmrpc/vmrpc.h>

#include <stdio.h>

VMRPC_DECLARE(double, mean, (SPAN, double, values))
VMRPC_DECLARE_BLOCK(uint8_t, bytes, (VALUE, uint64_t, count))
VMRPC_DECLARE_VOID(nothing, VMRPC_NO_ARGUMENTS)

int main(void) {
    vmrpc_connection* connection = NULL;
    const double values[] = {1, 2};
    double result = 0;
    vmrpc_block block = {NULL, 0};
    if (vmrpc_connect("local:/nonexistent/vmrpc/never.sock", NULL, &connection) != VMRPC_NO_SERVER) return 1;
    puts(VMRPC_LAST_ERROR_TEXT());
    if (mean_call(connection, NULL, &result, values, 2) != VMRPC_BAD_ARGUMENT) return 2;
    if (bytes_call(connection, NULL, &block, 8) != VMRPC_BAD_ARGUMENT) return 3;
    vmrpc_token token;
    if (mean_async(connection, NULL, &token, values, 2) != VMRPC_BAD_ARGUMENT) return 4;
    if (mean_wait(&token, &result) != VMRPC_BAD_ARGUMENT) return 5;
    if (bytes_post(connection, 8) != VMRPC_BAD_ARGUMENT) return 6;
    return nothing_call(connection, NULL) == VMRPC_BAD_ARGUMENT ? 0 : 7;
}
