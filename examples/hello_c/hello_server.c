/* Serves the functions of hello.h until SIGINT or SIGTERM: hello_c_server [ADDRESS]. */
#include "hello.h"

#include <signal.h>
#include <stdio.h>

double mean(const double* values, size_t values_count) {
    double sum = 0;
    for (size_t i = 0; i < values_count; ++i) sum += values[i];
    return values_count == 0 ? 0 : sum / (double)values_count;
}

void advance(int64_t* counter, int64_t step) {
    *counter += step;
}

vmrpc_block squares(uint32_t count) {
    uint64_t* block = vmrpc_malloc(NULL, count * sizeof *block, NULL); /* NULL: the heap of who calls */
    if (block == NULL) return (vmrpc_block){NULL, 0};
    for (uint64_t i = 0; i < count; ++i) block[i] = i * i;
    return (vmrpc_block){block, count};
}

static vmrpc_server* server;

static void stop(int signal_number) {
    (void)signal_number;
    VMRPC_STOP(server); /* safe in a signal handler; NOLINT(bugprone-signal-handler) */
}

int main(int argc, char** argv) {
    const char* address = argc > 1 ? argv[1] : "local:/tmp/vmrpc-hello.sock";
    int ok = vmrpc_serve(address, NULL, &server) == VMRPC_OK && VMRPC_ADD(server, mean) == VMRPC_OK &&
             VMRPC_ADD(server, advance) == VMRPC_OK && VMRPC_ADD(server, squares) == VMRPC_OK;
    if (ok) {
        signal(SIGINT, stop);
        signal(SIGTERM, stop);
        printf("serving at %s\n", address);
        fflush(stdout);
        ok = VMRPC_RUN(server) == VMRPC_OK;
    }
    if (!ok) fprintf(stderr, "cannot serve at %s: %s\n", address, VMRPC_LAST_ERROR_TEXT());
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    vmrpc_close(server);
    return ok ? 0 : 1;
}
