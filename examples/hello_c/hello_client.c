/* Calls the hello server: hello_c_client [ADDRESS]. */
#include "hello.h"

#include <inttypes.h>
#include <stdio.h>

static int failed(const char* what) {
    fprintf(stderr, "%s: %s\n", what, VMRPC_LAST_ERROR_TEXT());
    return 1;
}

static int greet(vmrpc_connection* server) {
    double* values = vmrpc_malloc(server, 1000 * sizeof *values, NULL); /* memory that the server sees as well */
    if (values == NULL) return failed("vmrpc_malloc");
    for (int i = 0; i < 1000; ++i) values[i] = i;
    double m = 0;
    if (mean_call(server, NULL, &m, values, 1000) != VMRPC_OK) return failed("mean");
    vmrpc_free(server, values);
    printf("mean: %g\n", m);

    int64_t counter = 40;
    if (advance_call(server, NULL, &counter, 2) != VMRPC_OK) return failed("advance");
    printf("counter: %" PRId64 "\n", counter);

    vmrpc_block block;
    if (squares_call(server, NULL, &block, 5) != VMRPC_OK) return failed("squares");
    printf("squares:");
    for (size_t i = 0; i < block.count; ++i) printf(" %" PRIu64, ((const uint64_t*)block.data)[i]);
    printf("\n");
    vmrpc_free(server, block.data);
    return 0;
}

int main(int argc, char** argv) {
    vmrpc_connection* server = NULL;
    if (vmrpc_connect(argc > 1 ? argv[1] : "local:/tmp/vmrpc-hello.sock", NULL, &server) != VMRPC_OK)
        return failed("cannot connect");
    const int status = greet(server);
    vmrpc_close(server);
    return status;
}
