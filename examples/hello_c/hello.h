/* The functions of the hello server, for both sides. hello_cpp/hello.hpp declares the same for C++. */
#ifndef VMRPC_HELLO_H
#define VMRPC_HELLO_H

#include <vmrpc/vmrpc.h>

/* The mean of values that are read where they lie. */
VMRPC_DECLARE(double, mean, (SPAN, double, values))
/* Adds step to *counter. */
VMRPC_DECLARE_VOID(advance, (INOUT, int64_t, counter), (VALUE, int64_t, step))
/* The first count square numbers, in a block that the caller frees. */
VMRPC_DECLARE_BLOCK(uint64_t, squares, (VALUE, uint32_t, count))

#endif
