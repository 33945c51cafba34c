/* A C program outside the project: nobody listens at the address it was given, and it must be told so. */
#include <vmrpc/vmrpc.h>

#include <stdio.h>

int main(int argc, char** argv) {
    vmrpc_connection* connection = NULL;
    vmrpc_status status = argc > 1 ? vmrpc_connect(argv[1], NULL, &connection) : VMRPC_BAD_ARGUMENT;
    printf("C: status %d\n", (int)status);
    return status == VMRPC_NO_SERVER && connection == NULL ? 0 : 1;
}
